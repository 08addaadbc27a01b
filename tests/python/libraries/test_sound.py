"""libsndfile and libsamplerate: structs that C fills, and structs that point to arrays."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

import mapcall
from packaged import load


def test_sound_files(tmp_path: Path) -> None:
    sound = load("libsndfile.so", "sndfile.h")
    sf_open = sound.function(
        "SNDFILE *sf_open(const char *path, int mode, SF_INFO *info)",
        check="nonnull",
        destructor=sound.sf_close,
    )
    write = sound.function(
        "sf_count_t sf_writef_double(SNDFILE *file, const double x[frames][2], sf_count_t frames)"
    )
    read = sound.function(
        "sf_count_t sf_readf_double(SNDFILE *file, double x[frames][2], sf_count_t frames)"
    )
    t = np.linspace(0, 1, 8000)
    x = 0.9 * np.stack([np.sin(440 * t), np.cos(220 * t)], axis=-1)
    path = str(tmp_path / "tone.wav")
    format = sound.SF_FORMAT_WAV | sound.SF_FORMAT_PCM_16
    with sf_open(
        path, sound.SFM_WRITE, {"samplerate": 8000, "channels": 2, "format": format}
    ) as file:
        assert write(file, x) == 8000

    with wave.open(path) as reader:
        assert (reader.getframerate(), reader.getnchannels()) == (8000, 2)
        samples = np.frombuffer(reader.readframes(8000), "<i2").reshape(-1, 2)
    np.testing.assert_allclose(samples / 32767, x, atol=1e-4)

    info = sound.struct("SF_INFO")()
    with sf_open(path, sound.SFM_READ, info) as file:
        assert (info.frames, info.samplerate, info.channels) == (8000, 8000, 2)
        assert info.format == format
        count, y = read(file, frames=info.frames)
    assert count == 8000
    np.testing.assert_array_equal(y, samples / 32768)
    with pytest.raises(mapcall.CallError):
        sf_open(str(tmp_path / "none.wav"), sound.SFM_READ, info)
    assert "No such file" in sound.sf_strerror(None)


def test_sample_rates() -> None:
    rates = load("libsamplerate.so", "samplerate.h")
    x = np.sin(np.arange(4000, dtype="f4") * 0.05)
    y = np.zeros(3000, "f4")
    data = rates.struct("SRC_DATA")(
        data_in=x, input_frames=x.size, data_out=y, output_frames=y.size, src_ratio=0.5
    )
    assert rates.src_simple(data, rates.SRC_SINC_BEST_QUALITY, 1) == 0
    assert data.input_frames_used == x.size
    assert abs(data.output_frames_gen - 2000) <= 1
    middle = slice(200, 1800)
    expected = np.sin(np.arange(2000) * 0.1)
    np.testing.assert_allclose(y[:2000][middle], expected[middle], atol=1e-3)
    # The same, with a struct that is made for the call.
    again = np.zeros_like(y)
    members = {"data_in": x, "input_frames": x.size, "data_out": again, "output_frames": y.size}
    assert rates.src_simple(members | {"src_ratio": 0.5}, rates.SRC_SINC_BEST_QUALITY, 1) == 0
    np.testing.assert_array_equal(again, y)
    # No ratio: an error of the library, with its text.
    error = rates.src_simple(members, rates.SRC_LINEAR, 1)
    assert "ratio" in rates.src_strerror(error)
