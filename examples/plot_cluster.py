# SPDX-License-Identifier: BSD-3-Clause
"""
==========================
A grid search on a cluster
==========================

A grid search runs on two worker processes, one of which is killed on the way. The
scores are those of a sequential search. Needs ``pip install "dask[distributed]"
dask-ml``; on Windows, take ``LocalCluster`` as the page :doc:`/cluster` shows.
"""

# %%
# A sequential search
# -------------------
# Images of digits and sentences about them, six candidates, two folds.

import logging
import os
import signal
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from dask.distributed import Client, Scheduler, SpecCluster, get_task_stream
from dask_ml.model_selection import GridSearchCV as DaskGridSearchCV
from distributed.deploy.subprocess import SubprocessWorker
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import ACMRProjector, PairTransformer
from sklearn_cmr.datasets import load_captioned_digits

pairs, y = load_captioned_digits(return_X_y=True)
pairs, y = pairs[:300], y[:300]
text_features = make_pipeline(TfidfVectorizer(), StandardScaler(with_mean=False))
model = make_pipeline(
    PairTransformer(image=StandardScaler(), text=text_features),
    ACMRProjector(hidden_layer_sizes=(128,), max_epochs=5, random_state=0),
)
grid = {"acmrprojector__margin": [0.2, 0.5], "acmrprojector__lr": [1e-4, 3e-4, 1e-3]}
folds = StratifiedKFold(2, shuffle=True, random_state=0)
sequential = GridSearchCV(model, grid, cv=folds, refit=False).fit(pairs, y)

# %%
# Two workers
# -----------
# These are programs of their own, as on other machines. For a cluster that runs
# already, its address is enough: ``Client("tcp://HOST:8786")``. The variable bounds the
# time that a worker waits for a dead one. By default, each worker has a nanny, which
# starts another one in its place; here, the worker that stays does all that is left.

os.environ["DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT"] = "5s"
quiet = {"silence_logs": logging.CRITICAL}
options = {
    "worker_class": "distributed.Worker",
    "worker_kwargs": {"nthreads": 1} | quiet,
}
worker = {"cls": SubprocessWorker, "options": options}
scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard": False}}
cluster = SpecCluster({1: worker, 2: worker}, scheduler, **quiet)
client = Client(cluster)
client.wait_for_workers(2)

# %%
# A search that loses one of them
# -------------------------------
# The worker that is the first to score a fold is killed, as the system does where
# memory is short. It leaves a note of it, so that it stays the only one.

note = Path(tempfile.mkdtemp()) / "killed"


def score_or_die(estimator, X, y):
    """Return the score of a fold, or end the process if it is the first to ask."""
    try:
        with note.open("x") as file:
            file.write(f"{os.getpid()} {time.time()}")
    except FileExistsError:
        return estimator.score(X, y)
    os.kill(os.getpid(), signal.SIGKILL)


processes = client.run(os.getpid)
client.run(model.fit, pairs, y)  # imports, which the picture is to leave out
search = DaskGridSearchCV(model, grid, cv=folds, scoring=score_or_die, refit=False)
with get_task_stream(client) as stream:
    search.fit(pairs, y)
client.close()
cluster.close()

killed, moment = note.read_text().split()
print(f"killed: process {killed}, one of {sorted(processes.values())}")
for fold in range(2):
    key = f"split{fold}_test_score"
    equal = np.array_equal(search.cv_results_[key], sequential.cv_results_[key])
    print(f"fold {fold}: scores equal to those of the sequential search: {equal}")
best = np.argmax(search.cv_results_["mean_test_score"])
print(f"best: {search.cv_results_['params'][best]}")

# %%
# What ran where
# --------------
# One bar for each fit, one color for each candidate. The results of the dead worker
# are lost, and the other one computes them again.

fits = [task for task in stream.data if "projector-fit" in str(task["key"])]
kept = {task["key"]: task["worker"] for task in fits}  # the last one of each fit
workers = list(processes)
start = min(task["startstops"][0]["start"] for task in fits)

fig, ax = plt.subplots(figsize=(8, 2.2), layout="constrained")
for task in fits:
    times = next(span for span in task["startstops"] if span["action"] == "compute")
    _, candidate, _ = task["key"]
    is_lost = kept[task["key"]] != task["worker"]
    ax.barh(
        workers.index(task["worker"]),
        times["stop"] - times["start"],
        left=times["start"] - start,
        color=f"C{candidate}",
        edgecolor="white",
        hatch="////" if is_lost else None,
        alpha=0.5 if is_lost else 1,
    )
dead = list(processes.values()).index(int(killed))
ax.plot(float(moment) - start, dead, "kX", markersize=12, label="killed")
ax.bar(0, 0, color="gray", alpha=0.5, hatch="////", edgecolor="white", label="lost")
ax.set(
    xlabel="seconds",
    xlim=(0, None),
    yticks=range(len(workers)),
    yticklabels=["worker 1", "worker 2"],
    title="Fits of a grid search, one color for each candidate",
)
ax.invert_yaxis()
ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
fig.savefig("cluster.png", dpi=90)
plt.show()
