"""curl: variable arguments, and a callback that outlives the call that sets it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mapcall
from packaged import load


def test_curl(tmp_path: Path) -> None:
    curl = load("libcurl.so", "curl/curl.h")
    easy_init = curl.function(
        "CURL *curl_easy_init(void)", check="nonnull", destructor=curl.curl_easy_cleanup
    )
    content = np.random.default_rng(1).bytes(300_000)
    path = tmp_path / "content"
    path.write_bytes(content)
    received = bytearray()

    def write(data: mapcall.Handle, size: int, count: int, _: object) -> int:
        received.extend(data.array(size * count, "u1").tobytes())
        return size * count

    on_data = curl.callback(
        "size_t write(void *data, size_t size, size_t count, void *user)", write
    )
    with easy_init() as handle:
        for option, value in [
            (curl.CURLOPT_URL, path.as_uri()),
            (curl.CURLOPT_WRITEFUNCTION, on_data),
            (curl.CURLOPT_BUFFERSIZE, 10_000),
            (curl.CURLOPT_MAXFILESIZE_LARGE, np.int64(2**40)),
        ]:
            assert curl.curl_easy_setopt(handle, option, value) == curl.CURLE_OK
        assert curl.curl_easy_perform(handle) == curl.CURLE_OK
        assert received == content
        size = np.zeros(1, "i8")
        info = curl.CURLINFO_SIZE_DOWNLOAD_T
        assert curl.curl_easy_getinfo(handle, info, size) == curl.CURLE_OK
        assert size[0] == len(content)
        curl.curl_easy_setopt(handle, curl.CURLOPT_URL, (tmp_path / "none").as_uri())
        error = curl.curl_easy_perform(handle)
        assert error == curl.CURLE_FILE_COULDNT_READ_FILE
        assert curl.curl_easy_strerror(error) == "Couldn't read a file:// file"

    def broken(*_: object) -> int:
        raise ZeroDivisionError

    failing = curl.callback(
        "size_t write(void *data, size_t size, size_t count, void *user)", broken
    )
    with easy_init() as handle:
        curl.curl_easy_setopt(handle, curl.CURLOPT_URL, path.as_uri())
        curl.curl_easy_setopt(handle, curl.CURLOPT_WRITEFUNCTION, failing)
        with pytest.raises(ZeroDivisionError):
            curl.curl_easy_perform(handle)
