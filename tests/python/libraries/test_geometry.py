"""PROJ and GEOS: batches over structs, handles with a context, and arguments that C takes over."""

from __future__ import annotations

import numpy as np
import pytest

import mapcall
from packaged import load


def test_proj() -> None:
    proj = load("libproj.so", "proj.h")
    create = proj.function(
        "PJ *proj_create(PJ_CONTEXT *_Nullable context, const char *definition)",
        check="nonnull",
        destructor=proj.proj_destroy,
    )
    transform = proj.function(
        "size_t proj_trans_generic(PJ *P, PJ_DIRECTION direction,"
        " double x[n], [[mapcall::equals(8)]] size_t sx, size_t n,"
        " double y[m], [[mapcall::equals(8)]] size_t sy, [[mapcall::equals(n)]] size_t m,"
        " double z[_Nullable nz], size_t sz, size_t nz,"
        " double t[_Nullable nt], size_t st, size_t nt)"
    )
    rng = np.random.default_rng(1)
    longitude, latitude = rng.uniform(-180, 180, 10**6), rng.uniform(-80, 80, 10**6)
    radius = 6378137
    east = radius * np.radians(longitude)
    north = radius * np.log(np.tan(np.pi / 4 + np.radians(latitude) / 2))
    pipeline = (
        "+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad"
        f" +step +proj=webmerc +R={radius}"
    )
    with create(None, pipeline) as mercator:
        x, y = longitude.copy(), latitude.copy()
        options = {"sz": 0, "nz": 0, "st": 0, "nt": 0}
        assert transform(mercator, proj.PJ_FWD, x, y, **options) == 10**6
        np.testing.assert_allclose(x, east, atol=1e-6)
        np.testing.assert_allclose(y, north, atol=1e-6)
        # The same as a batch over unions, by value.
        points = np.zeros(10**6, proj.struct("PJ_COORD").dtype)
        points["v"][:, 0], points["v"][:, 1] = longitude, latitude
        found = proj.proj_trans(mercator, proj.PJ_FWD, points)
        np.testing.assert_array_equal(found["xy"]["x"], x)
        np.testing.assert_array_equal(found["xy"]["y"], y)
        assert transform(mercator, proj.PJ_INV, x, y, **options) == 10**6
    np.testing.assert_allclose(x, longitude, atol=1e-9)
    np.testing.assert_allclose(y, latitude, atol=1e-9)
    with pytest.raises(mapcall.CallError):
        create(None, "+proj=nothing")


def test_geos() -> None:
    geos = load("libgeos_c.so", "geos_c.h")
    context = geos.function(
        "GEOSContextHandle_t GEOS_init_r(void)", destructor=geos.GEOS_finish_r
    )()

    def destroy(geometry: mapcall.Handle) -> None:
        geos.GEOSGeom_destroy_r(context, geometry)

    sequence = geos.function(
        "GEOSCoordSequence *GEOSCoordSeq_copyFromBuffer_r(GEOSContextHandle_t context,"
        " const double points[n][2], unsigned int n, int has_z, int has_m)",
        check="nonnull",
        destructor=lambda points: geos.GEOSCoordSeq_destroy_r(context, points),
    )
    # The ring owns the sequence, and the polygon the ring.
    ring = geos.function(
        "GEOSGeometry *GEOSGeom_createLinearRing_r(GEOSContextHandle_t context,"
        " GEOSCoordSequence *points) __attribute__((ownership_takes(geos, 2)))",
        check="nonnull",
        destructor=destroy,
    )
    polygon = geos.function(
        "GEOSGeometry *GEOSGeom_createPolygon_r(GEOSContextHandle_t context, GEOSGeometry *shell,"
        " GEOSGeometry *holes[_Nullable n], unsigned int n)"
        " __attribute__((ownership_takes(geos, 2)))",
        check="nonnull",
        destructor=destroy,
    )
    intersection = geos.function(
        "GEOSGeometry *GEOSIntersection_r(GEOSContextHandle_t context, const GEOSGeometry *a,"
        " const GEOSGeometry *b)",
        check="nonnull",
        destructor=destroy,
    )
    area_of = geos.function(
        "int GEOSArea_r(GEOSContextHandle_t context, const GEOSGeometry *g, double area[1])"
    )

    def make(points: np.ndarray) -> mapcall.Handle:
        closed = np.vstack([points, points[:1]])
        return polygon(context, ring(context, sequence(context, closed, 0, 0)), None, n=0)

    def area(geometry: mapcall.Handle) -> float:
        status, value = area_of(context, geometry)
        assert status == 1
        return float(value[0])

    angle = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    x, y = points.T
    disc = make(points)
    shoelace = 0.5 * (x @ np.roll(y, -1) - y @ np.roll(x, -1))
    assert area(disc) == pytest.approx(shoelace)
    right = make(np.array([[0, -2], [2, -2], [2, 2], [0, 2.0]]))
    assert area(intersection(context, disc, right)) == pytest.approx(shoelace / 2)
    taken = sequence(context, np.vstack([points, points[:1]]), 0, 0)
    ring(context, taken)
    with pytest.raises(mapcall.ArgumentError, match="open"):
        ring(context, taken)
