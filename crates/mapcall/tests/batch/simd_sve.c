/* Variants for SVE of the functions in `simd.c`, written by hand: few compilers make them. Behind `simd.c`. */
#ifdef __aarch64__
#pragma GCC target "+sve"
#include <arm_sve.h>

svfloat64_t _ZGVsMxvvv_axpy(svfloat64_t a, svfloat64_t x, svfloat64_t y, svbool_t mask) {
  return svadd_x(mask, svmul_x(mask, a, x), y);
}
svfloat32_t _ZGVsMxvvv_axpyf(svfloat32_t a, svfloat32_t x, svfloat32_t y, svbool_t mask) {
  return svadd_x(mask, svmul_x(mask, a, x), y);
}

/* Narrow values stand in the low bytes of the widest ones' lanes. */
svfloat32_t _ZGVsMxvv_wide(svfloat32_t x, svfloat64_t y, svbool_t mask) {
  return svadd_x(mask, x, svcvt_f32_x(mask, y));
}
svfloat64_t _ZGVsMxvvv_narrow(svfloat64_t x, svfloat32_t y, svint32_t n, svbool_t mask) {
  svint64_t wide = svextw_x(mask, svreinterpret_s64(n));
  return svadd_x(mask, svmul_x(mask, x, svcvt_f64_x(mask, y)), svcvt_f64_x(mask, wide));
}

svint32_t _ZGVsMxvv_add32(svint32_t x, svuint32_t y, svbool_t mask) {
  return svadd_x(mask, x, svmul_x(mask, svreinterpret_s32(y), 3));
}
svint64_t _ZGVsMxvv_add64(svint64_t x, svuint64_t y, svbool_t mask) {
  return svsub_x(mask, x, svreinterpret_s64(y));
}
svint16_t _ZGVsMxvv_add16(svint16_t x, svint16_t y, svbool_t mask) { return svadd_x(mask, x, y); }
svuint8_t _ZGVsMxvv_add8(svuint8_t x, svuint8_t y, svbool_t mask) { return svadd_x(mask, x, y); }

svfloat64_t _ZGVsMxvuu_uniform(svfloat64_t x, double scale, int32_t shift, svbool_t mask) {
  return svadd_x(mask, svmul_x(mask, x, scale), (double)shift);
}
svfloat32_t _ZGVsMxvu_uniformf(svfloat32_t x, float scale, svbool_t mask) {
  return svmul_x(mask, x, scale);
}
svfloat64_t _ZGVsMxuv_looked_up(const double *table, svint64_t i, svbool_t mask) {
  return svld1_gather_index(mask, table, svand_x(mask, i, 3));
}

void _ZGVsMxl8l8_moved(const double *x, double *y, svbool_t mask) {
  svst1(mask, y, svadd_x(mask, svld1(mask, y), svmul_x(mask, svld1(mask, x), 2.0)));
}
void _ZGVsMxl8ln4_stepped(const float *x, float *y, svbool_t mask) {
  int32_t selected[64] = {0};
  svst1(mask, selected, svdup_s32(1));
  for (int lane = 0; lane < (int)svcntw(); lane++)
    if (selected[lane]) y[-lane] += x[2 * lane];
}
void _ZGVsMxvv_scattered(svfloat64_t x, svuint64_t y, svbool_t mask) {
  svst1_scatter(mask, y, svadd_x(mask, svld1_gather_f64(mask, y), x));
}

svfloat64_t _ZGVsMxvl_counted(svfloat64_t x, int32_t i, svbool_t mask) {
  return svmul_x(mask, x, svcvt_f64_x(mask, svindex_s64(i, 1)));
}
svint64_t _ZGVsMxln3v_counted_down(int64_t i, svint64_t x, svbool_t mask) {
  return svadd_x(mask, x, svmul_x(mask, svindex_s64(i, -3), 2));
}
svfloat64_t _ZGVsMxul2_every_second(const double *table, uint8_t i, svbool_t mask) {
  return svld1_gather_index(mask, table, svand_x(mask, svindex_s64(i, 2), 127));
}
svfloat32_t _ZGVsMxulv_counted_masked(const float *table, int16_t i, svfloat32_t x, svbool_t mask) {
  return svadd_x(mask, svld1_gather_index(mask, table, svand_x(mask, svindex_s32(i, 1), 63)), x);
}
svfloat64_t _ZGVsMxvls2u_counted_by(svfloat64_t x, int64_t i, int32_t step, svbool_t mask) {
  return svadd_x(mask, x, svcvt_f64_x(mask, svindex_s64(i, step)));
}

svfloat64_t _ZGVsMxvv_masked(svfloat64_t x, svfloat64_t y, svbool_t mask) {
  return svsub_x(mask, x, y);
}
svfloat32_t _ZGVsMxv_maskedf(svfloat32_t x, svbool_t mask) { return svadd_x(mask, x, 1.0f); }
svint32_t _ZGVsMxv_masked32(svint32_t x, svbool_t mask) { return svnot_x(mask, x); }
void _ZGVsMxvl8_masked_moved(svfloat64_t x, double *y, svbool_t mask) {
  svst1(mask, y, svadd_x(mask, svld1(mask, y), x));
}
void _ZGVsMxvv_masked_scattered(svfloat32_t x, svuint64_t y, svbool_t mask) {
  svuint64_t before = svld1uw_gather_u64(mask, y);
  svfloat32_t after = svadd_x(mask, svreinterpret_f32(before), x);
  svst1w_scatter(mask, y, svreinterpret_u64(after));
}

svfloat64_t _ZGVsMxvvvvvvvv_eight(svfloat64_t a, svfloat64_t b, svfloat64_t c, svfloat64_t d,
                                  svfloat64_t e, svfloat64_t f, svfloat64_t g, svfloat64_t h,
                                  svbool_t mask) {
  svfloat64_t sum = svadd_x(mask, a, svmul_x(mask, b, 2.0));
  sum = svadd_x(mask, sum, svmul_x(mask, c, 3.0));
  sum = svadd_x(mask, sum, svmul_x(mask, d, 4.0));
  sum = svadd_x(mask, sum, svmul_x(mask, e, 5.0));
  sum = svadd_x(mask, sum, svmul_x(mask, f, 6.0));
  sum = svadd_x(mask, sum, svmul_x(mask, g, 7.0));
  return svadd_x(mask, sum, svmul_x(mask, h, 8.0));
}

svfloat64_t _ZGVsMxv_marked(svfloat64_t x, svbool_t mask) { return svadd_x(mask, x, 4000.0); }
#endif
