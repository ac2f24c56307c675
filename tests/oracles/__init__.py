"""Independent reference implementations that the tests compare the library with.

Nothing here imports the library. Each function is the plainest form of its formula: double loops,
dense matrices, Gauss quadrature in every cell, 50-digit arithmetic. None is meant to be fast.
"""
