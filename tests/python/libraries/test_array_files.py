"""HDF5, netCDF and libtiff: arrays in files of other formats, read back by other programs."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from packaged import load

io = pytest.importorskip("scipy.io")


def test_hdf5(tmp_path: Path) -> None:
    h5 = load("libhdf5_serial.so", "hdf5.h")
    assert h5.H5open() >= 0
    create_simple = h5.function(
        "hid_t H5Screate_simple(int rank, const hsize_t dims[rank],"
        " const hsize_t max[_Nullable rank])"
    )
    get_dims = h5.function(
        "int H5Sget_simple_extent_dims(hid_t space, hsize_t dims[2], hsize_t max[_Nullable 2])"
    )
    x = np.random.default_rng(1).random((30, 40))
    path = str(tmp_path / "x.h5")
    # A native type is a variable of the library; in C, macros open the library before its use.
    double, default, everything = h5.H5T_NATIVE_DOUBLE_g, h5.H5P_DEFAULT, h5.H5S_ALL
    file = h5.H5Fcreate(path, 2, default, default)
    space = create_simple(np.array(x.shape, "u8"))
    data = h5.H5Dcreate(file, "x", double, space, default, default, default)
    assert min(file, space, data) > 0
    assert h5.H5Dwrite(data, double, everything, everything, default, x) >= 0
    for close, number in [(h5.H5Dclose, data), (h5.H5Sclose, space), (h5.H5Fclose, file)]:
        assert close(number) >= 0

    with h5py.File(path) as reader:
        np.testing.assert_array_equal(reader["x"][...], x)

    file = h5.H5Fopen(path, 0, default)
    data = h5.H5Dopen(file, "x", default)
    space = h5.H5Dget_space(data)
    rank, shape = get_dims(space)
    assert (rank, shape.tolist()) == (2, [30, 40])
    y = np.zeros(shape)
    assert h5.H5Dread(data, double, everything, everything, default, y) >= 0
    np.testing.assert_array_equal(y, x)
    assert h5.H5Fclose(file) >= 0


def test_netcdf(tmp_path: Path) -> None:
    contracts = tmp_path / "netcdf.contracts.h"
    contracts.write_text(
        """
        int nc_create(const char *path, int mode, int file[1]);
        int nc_open(const char *path, int mode, int file[1]);
        int nc_def_dim(int file, const char *name, size_t length, int dim[1]);
        int nc_def_var(int file, const char *name, nc_type type, int rank, const int dims[rank],
                       int variable[1]);
        int nc_inq_varid(int file, const char *name, int variable[1]);
        """
    )
    nc = load("libnetcdf.so", "netcdf.h", prototypes=contracts)
    # The file has the lengths of the arrays, not the call.
    put, get = nc.nc_put_var_double.unchecked, nc.nc_get_var_double.unchecked
    x = np.random.default_rng(1).random((20, 30))
    path = str(tmp_path / "x.nc")
    status, (file,) = nc.nc_create(path, nc.NC_CLOBBER)
    assert status == nc.NC_NOERR
    dims = [nc.nc_def_dim(file, name, n)[1][0] for name, n in zip("ij", x.shape, strict=True)]
    status, (variable,) = nc.nc_def_var(file, "x", nc.NC_DOUBLE, np.array(dims, "i4"))
    assert status == nc.NC_NOERR == nc.nc_enddef(file)
    assert put(file, variable, x) == nc.NC_NOERR
    assert nc.nc_close(file) == nc.NC_NOERR

    with io.netcdf_file(path, mmap=False) as reader:
        np.testing.assert_array_equal(reader.variables["x"][:], x)

    _, (file,) = nc.nc_open(path, nc.NC_NOWRITE)
    _, (variable,) = nc.nc_inq_varid(file, "x")
    y = np.zeros_like(x)
    assert get(file, variable, y) == nc.NC_NOERR
    np.testing.assert_array_equal(y, x)
    assert nc.nc_close(file) == nc.NC_NOERR
    status, _ = nc.nc_open(str(tmp_path / "none.nc"), nc.NC_NOWRITE)
    assert nc.nc_strerror(status) == "No such file or directory"


def test_tiff(tmp_path: Path) -> None:
    tiff = load("libtiff.so", "tiffio.h")
    tiff_open = tiff.function(
        "TIFF *TIFFOpen(const char *path, const char *mode)",
        check="nonnull",
        destructor=tiff.TIFFClose,
    )
    rows, columns = np.indices((48, 64))
    image = (rows * 997 + columns * 31).astype("u2")
    path = tmp_path / "x.tif"
    with tiff_open(str(path), "w") as file:
        for tag, *values in [
            (tiff.TIFFTAG_IMAGEWIDTH, 64),
            (tiff.TIFFTAG_IMAGELENGTH, 48),
            (tiff.TIFFTAG_BITSPERSAMPLE, 16),
            (tiff.TIFFTAG_SAMPLESPERPIXEL, 1),
            (tiff.TIFFTAG_PHOTOMETRIC, tiff.PHOTOMETRIC_MINISBLACK),
            (tiff.TIFFTAG_ROWSPERSTRIP, 48),
            # In C, a float among variable arguments is a double.
            (tiff.TIFFTAG_XRESOLUTION, 72.5),
            (tiff.TIFFTAG_IMAGEDESCRIPTION, "a plane"),
        ]:
            assert tiff.TIFFSetField(file, tag, *values) == 1
        for number, row in enumerate(image):
            assert tiff.TIFFWriteScanline(file, row, number, 0) == 1
    assert image.tobytes() in path.read_bytes()

    with tiff_open(str(path), "r") as file:
        size, resolution = np.zeros(2, "u4"), np.zeros(1, "f4")
        for tag, value in [
            (tiff.TIFFTAG_IMAGEWIDTH, size[1:]),
            (tiff.TIFFTAG_IMAGELENGTH, size[:1]),
            (tiff.TIFFTAG_XRESOLUTION, resolution),
        ]:
            assert tiff.TIFFGetField(file, tag, value) == 1
        assert (size.tolist(), resolution[0]) == ([48, 64], 72.5)
        read = np.zeros_like(image)
        for number, row in enumerate(read):
            assert tiff.TIFFReadScanline(file, row, number, 0) == 1
    np.testing.assert_array_equal(read, image)
