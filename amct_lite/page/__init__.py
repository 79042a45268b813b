"""A finished run as one page to look at: gathered from its files, drawn, written as HTML that needs nothing else.

`gather` makes a frozen `Page`, `template` and `figures` show it. Nothing is decided, run or measured here.
"""
