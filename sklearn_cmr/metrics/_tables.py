"""Tables of text."""

# SPDX-License-Identifier: BSD-3-Clause


def format_rows(rows, digits, *, min_width=0):
    """Align the cells of a table.

    Parameters
    ----------
    rows : dict of str to dict
        Cells by the name of the column, by the name of the row. All rows have the
        columns of the first one. Numbers of type float are rounded.

    digits : int
        Number of digits after the point.

    min_width : int, default=0
        Smallest width of a column.

    Returns
    -------
    header : str

    lines : dict of str to str
        The lines by the name of the row.
    """
    columns = list(next(iter(rows.values())))
    cells = [
        [
            f"{row[column]:.{digits}f}"
            if isinstance(row[column], float)
            else str(row[column])
            for column in columns
        ]
        for row in rows.values()
    ]
    widths = [
        max(min_width, *map(len, own)) for own in zip(columns, *cells, strict=True)
    ]
    name_width = max(len(str(name)) for name in rows)

    def align(name, own):
        return "  ".join([str(name).rjust(name_width), *map(str.rjust, own, widths)])

    lines = {name: align(name, own) for name, own in zip(rows, cells, strict=True)}
    return align("", columns), lines
