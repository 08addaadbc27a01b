"""Zstandard, LZ4 and libjpeg-turbo: arrays that go into bytes, and back."""

from __future__ import annotations

import numpy as np
import pytest

import mapcall
from packaged import load


def test_zstandard() -> None:
    zstd = load("libzstd.so", "zstd.h")
    compress = zstd.function(
        "size_t ZSTD_compress(void dst[capacity], size_t capacity,"
        " const void src[size], size_t size, int level)"
    )
    decompress = zstd.function(
        "size_t ZSTD_decompress(void dst[capacity], size_t capacity,"
        " const void src[size], size_t size)"
    )
    x = np.arange(100_000.0).reshape(100, 1000)
    bound = zstd.ZSTD_compressBound(x.nbytes)
    size, packed = compress(src=x, level=zstd.ZSTD_CLEVEL_DEFAULT, capacity=bound)
    assert not zstd.ZSTD_isError(size)
    assert size < x.nbytes / 2
    y = np.empty_like(x)
    assert decompress(y, packed[:size]) == x.nbytes
    np.testing.assert_array_equal(y, x)
    # An error of the library is a size that it knows.
    size = decompress(y[:1], packed[:size])
    assert zstd.ZSTD_isError(size)
    assert "too small" in zstd.ZSTD_getErrorName(size)
    assert zstd.ZSTD_versionString() == zstd.ZSTD_VERSION_STRING


def test_lz4() -> None:
    lz4 = load("liblz4.so", "lz4.h")
    compress = lz4.function(
        "int LZ4_compress_default(const char src[size], char dst[capacity], int size, int capacity)"
    )
    decompress = lz4.function(
        "int LZ4_decompress_safe(const char src[size], char dst[capacity], int size, int capacity)"
    )
    x = np.repeat(np.arange(5000, dtype="i4"), 20)
    size, packed = compress(src=x.view("u1"), capacity=lz4.LZ4_compressBound(x.nbytes))
    assert 0 < size < x.nbytes / 2
    y = np.zeros_like(x)
    assert decompress(packed[:size], y.view("u1")) == x.nbytes
    np.testing.assert_array_equal(y, x)
    with pytest.raises(mapcall.ArgumentError, match="writeable"):
        decompress(packed[:size], bytes(x.nbytes))


def test_jpeg() -> None:
    jpeg = load("libturbojpeg.so", "turbojpeg.h")
    init_compress = jpeg.function("tjhandle tjInitCompress(void)", destructor=jpeg.tjDestroy)
    init_decompress = jpeg.function("tjhandle tjInitDecompress(void)", destructor=jpeg.tjDestroy)
    compress = jpeg.function(
        "int tjCompress2(tjhandle h, const unsigned char image[height][width][3], int width,"
        " [[mapcall::equals(3 * width)]] int pitch, int height, int format,"
        " unsigned char *file[1], unsigned long size[1], int subsampling, int quality, int flags)",
        check="zero",
    )
    read_header = jpeg.function(
        "int tjDecompressHeader3(tjhandle h, const unsigned char file[size], unsigned long size,"
        " int width[1], int height[1], int subsampling[1], int colors[1])",
        check="zero",
    )
    decompress = jpeg.function(
        "int tjDecompress2(tjhandle h, const unsigned char file[size], unsigned long size,"
        " unsigned char image[height][width][3], int width,"
        " [[mapcall::equals(3 * width)]] int pitch, int height, int format, int flags)",
        check="zero",
    )
    rows, columns = np.indices((120, 160))
    image = np.stack([rows, columns, rows + columns // 2], axis=-1).astype("u1")
    file = np.empty(jpeg.tjBufSize(160, 120, jpeg.TJSAMP_444), "u1")
    size = np.array([file.size], np.uintp)
    with init_compress() as h:
        compress(h, image, jpeg.TJPF_RGB, [file], size, jpeg.TJSAMP_444, 95, jpeg.TJFLAG_NOREALLOC)
    assert 0 < size[0] < image.nbytes / 4
    file = file[: size[0]]
    with init_decompress() as h:
        width, height, subsampling, _ = read_header(h, file)
        assert (height[0], width[0], subsampling[0]) == (120, 160, jpeg.TJSAMP_444)
        decoded = decompress(h, file, jpeg.TJPF_RGB, 0, height=height[0], width=width[0])
        with pytest.raises(mapcall.CallError):
            read_header(h, file[100:])
        assert jpeg.tjGetErrorStr2(h)
    assert decoded.shape == image.shape
    assert np.abs(decoded.astype(int) - image).mean() < 1.5
