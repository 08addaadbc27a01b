"""The examples of NumPy's page on `ndarray.ctypes`, with a memory map.

>>> import ctypes, tempfile
>>> import mapcall
>>> file = tempfile.NamedTemporaryFile()
>>> x = mapcall.memmap(file, dtype="i4", mode="w+", shape=(2, 2))
>>> x[:] = [[0, 1], [2, 3]]

The address of the first element, as an integer:

>>> x.ctypes.data == x.__array_interface__["data"][0]
True
>>> x[1:].ctypes.data - x.ctypes.data
8

As a pointer of any type, which determines the type of the object it points to:

>>> x.ctypes.data_as(ctypes.POINTER(ctypes.c_uint32))
<...LP_c_uint object at 0x...>
>>> x.ctypes.data_as(ctypes.POINTER(ctypes.c_uint32)).contents
c_uint(0)
>>> x[0, 1:].ctypes.data_as(ctypes.POINTER(ctypes.c_uint64)).contents
c_ulong(8589934593)

The shape in elements and the strides in bytes, as ctypes arrays:

>>> x.ctypes.shape
<...c_long_Array_2 object at 0x...>
>>> tuple(x.ctypes.shape), tuple(x.ctypes.strides)
((2, 2), (8, 4))
>>> tuple(x.ctypes.shape_as(ctypes.c_short)), tuple(x.T.ctypes.strides_as(ctypes.c_longlong))
((2, 2), (4, 8))

The pointer is one to the content of the file:

>>> x.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))[3] = 7
>>> x.flush()
>>> mapcall.memmap(file, dtype="i4", mode="r").tolist()
[0, 1, 2, 7]
"""
