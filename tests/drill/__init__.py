"""The drill: real commands are killed, their files and parameters are damaged, and what breaks is printed.

`make drill` takes about ten minutes and is not part of `make test`.
"""
