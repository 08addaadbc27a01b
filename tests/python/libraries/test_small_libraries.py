"""PCRE2, GDBM, libyaml, Jansson, libsodium and libuv, as their users call them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

import debian
import mapcall
import packaged


def test_pcre2_by_the_names_that_its_macros_paste() -> None:
    path = debian.library("libpcre2-8.so.0")
    width = {"PCRE2_CODE_UNIT_WIDTH": "8"}
    lib = mapcall.load(path, header="pcre2.h", define=width, include=debian.include())
    compiled = lib.function(
        "pcre2_code *pcre2_compile(const PCRE2_UCHAR8 pattern[n], size_t n, uint32_t options, "
        "int error[1], size_t offset[1], pcre2_compile_context *context) "
        "__attribute__((malloc(pcre2_code_free, 1)))"
    )
    pattern, error, _ = compiled(b"(b+)(c)", 0, context=None)
    assert error[0] == 100
    match = lib.function(
        "int pcre2_match(const pcre2_code *code, const PCRE2_UCHAR8 text[n], size_t n, "
        "size_t start, uint32_t options, pcre2_match_data *found, pcre2_match_context *context)"
    )
    found = lib.pcre2_match_data_create_from_pattern(pattern, None)
    assert match(pattern, b"abbbcd", 0, 0, found, None) == 3
    ends = lib.pcre2_get_ovector_pointer(found)
    assert ends.array(6, "u8").tolist() == [1, 5, 1, 4, 4, 5]
    assert match(pattern, b"xyz", 0, 0, found, None) == lib.PCRE2_ERROR_NOMATCH
    lib.pcre2_match_data_free(found)
    pattern.close()


def test_gdbm_passes_and_returns_structs_with_pointers(tmp_path: Path) -> None:
    lib = packaged.load("libgdbm.so.6", "gdbm.h")
    file = lib.gdbm_open(str(tmp_path / "x.gdbm"), 0, lib.GDBM_NEWDB, 0o600, None)
    values = np.arange(4.0)
    key = {"dptr": "key", "dsize": 3}
    bytes_of = values.view("i1")
    assert lib.gdbm_store(file, key, {"dptr": bytes_of, "dsize": 32}, lib.GDBM_INSERT) == 0
    found = lib.gdbm_fetch(file, key)
    assert found.dsize == 32
    np.testing.assert_array_equal(found.dptr.array(32, "i1").view("f8"), values)
    missing = lib.gdbm_fetch(file, {"dptr": "no", "dsize": 2})
    assert missing.dptr is None
    lib.gdbm_close(file)


def test_yaml_events() -> None:
    lib = packaged.load("libyaml-0.so.2", "yaml.h")
    parser = lib.struct("yaml_parser_t")()
    assert lib.yaml_parser_initialize(parser) == 1
    give = lib.function(
        "void yaml_parser_set_input_string(yaml_parser_t *parser, const unsigned char text[n], "
        "size_t n)"
    )
    text = np.frombuffer(b"a: [1, 2]", "u1")
    give(parser, text)
    scalars = []
    kind = None
    while kind != lib.YAML_STREAM_END_EVENT:
        event = lib.struct("yaml_event_t")()
        assert lib.yaml_parser_parse(parser, event) == 1
        kind = event.type
        if kind == lib.YAML_SCALAR_EVENT:
            scalars.append(event.data.scalar.value.text())
        lib.yaml_event_delete(event)
    lib.yaml_parser_delete(parser)
    assert scalars == ["a", "1", "2"]


def test_jansson() -> None:
    lib = packaged.load("libjansson.so.4", "jansson.h")
    error = lib.struct("json_error_t")()
    root = lib.json_loads('{"x": [1, 2.5, "z"]}', 0, error)
    x = lib.json_object_get(root, "x")
    assert lib.json_integer_value(lib.json_array_get(x, 0)) == 1
    assert lib.json_real_value(lib.json_array_get(x, 1)) == 2.5
    assert lib.json_string_value(lib.json_array_get(x, 2)) == "z"
    lib.json_delete(root)
    assert lib.json_loads("{", 0, error) is None
    assert error.line == 1


def test_sodium() -> None:
    lib = packaged.load("libsodium.so.23", "sodium.h")
    assert lib.sodium_init() >= 0
    digest = lib.function(
        "int crypto_generichash(unsigned char out[size], size_t size, const unsigned char text[n], "
        "unsigned long long n, const unsigned char key[_Nullable k], size_t k)"
    )
    status, out = digest(size=lib.crypto_generichash_BYTES, text=b"abc", k=0)
    assert (status, bytes(out)) == (0, hashlib.blake2b(b"abc", digest_size=32).digest())


def test_uv_calls_back() -> None:
    lib = packaged.load("libuv.so.1", "uv.h")
    loop, timer = lib.uv_default_loop(), lib.struct("uv_timer_t")()
    assert lib.uv_timer_init(loop, timer) == 0
    calls = []
    fired = lib.uv_timer_start.callback("cb", lambda handle: calls.append(handle.type))
    assert lib.uv_timer_start(timer, fired, 1, 0) == 0
    assert lib.uv_run(loop, lib.UV_RUN_DEFAULT) == 0
    assert calls == ["uv_timer_s"]
