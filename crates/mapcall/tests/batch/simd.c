/* Functions with vector variants for each form of a parameter, and scalar functions to compare them with.
   Compiled with -O2 -fopenmp-simd -ffp-contract=off. */
#include <stdint.h>

typedef double double2 __attribute__((vector_size(16)));
#ifdef __x86_64__
typedef double double4 __attribute__((vector_size(32)));
typedef double double8 __attribute__((vector_size(64)));
#endif

#pragma omp declare simd notinbranch
double axpy(double a, double x, double y) { return a * x + y; }

#pragma omp declare simd notinbranch
float axpyf(float a, float x, float y) { return a * x + y; }

/* A parameter that takes two registers, and one that takes half of one. */
#pragma omp declare simd notinbranch
float wide(float x, double y) { return x + (float)y; }
#pragma omp declare simd notinbranch
double narrow(double x, float y, int32_t n) { return x * y + n; }

#pragma omp declare simd notinbranch
int32_t add32(int32_t x, uint32_t y) { return x + (int32_t)y * 3; }
#pragma omp declare simd notinbranch
int64_t add64(int64_t x, uint64_t y) { return x - (int64_t)y; }
#pragma omp declare simd notinbranch
int16_t add16(int16_t x, int16_t y) { return (int16_t)(x + y); }
#pragma omp declare simd notinbranch
uint8_t add8(uint8_t x, uint8_t y) { return (uint8_t)(x + y); }

#pragma omp declare simd notinbranch uniform(scale, shift)
double uniform(double x, double scale, int32_t shift) { return x * scale + shift; }
#pragma omp declare simd notinbranch uniform(scale)
float uniformf(float x, float scale) { return x * scale; }
#pragma omp declare simd notinbranch uniform(table)
double looked_up(const double table[4], int64_t i) { return table[i & 3]; }

#pragma omp declare simd notinbranch linear(x : 1) linear(y : 1)
void moved(const double x[1], double y[1]) { *y += 2 * *x; }
#pragma omp declare simd notinbranch linear(x : 2) linear(y : -1)
void stepped(const float x[1], float y[1]) { *y += *x; }
#pragma omp declare simd notinbranch
void scattered(double x, double y[1]) { *y += x; }

#pragma omp declare simd notinbranch linear(i : 1)
double counted(double x, int32_t i) { return x * i; }
#pragma omp declare simd notinbranch linear(i : -3)
int64_t counted_down(int64_t i, int64_t x) { return x + 2 * i; }
#pragma omp declare simd notinbranch linear(i : 2) uniform(table)
double every_second(const double table[200], uint8_t i) { return table[i & 127]; }
#pragma omp declare simd inbranch linear(i : 1) uniform(table)
float counted_masked(const float table[200], int16_t i, float x) { return table[i & 63] + x; }

/* Steps that a parameter holds: of integers as they are, of pointers in items. */
#pragma omp declare simd notinbranch linear(i : step) uniform(step)
double counted_by(double x, int64_t i, int32_t step) { return x + (double)i; }
#pragma omp declare simd notinbranch linear(x : step) uniform(step) linear(y : 1)
void moved_by(const double x[1], double y[1], int64_t step) { *y = *x; }

#pragma omp declare simd notinbranch linear(x : 1) linear(y : 1) aligned(x : 16)
void aligned(const double x[1], double y[1]) { *y = *x; }
#pragma omp declare simd notinbranch uniform(table) aligned(table : 16)
double aligned_table(const double table[4], int64_t i) { return table[i & 3]; }

#pragma omp declare simd inbranch
double masked(double x, double y) { return x - y; }
#pragma omp declare simd inbranch
float maskedf(float x) { return x + 1; }
#pragma omp declare simd inbranch
int32_t masked32(int32_t x) { return ~x; }
#pragma omp declare simd inbranch linear(y : 1)
void masked_moved(double x, double y[1]) { *y += x; }
#pragma omp declare simd inbranch
void masked_scattered(float x, float y[1]) { *y += x; }

#pragma omp declare simd notinbranch
double eight(double a, double b, double c, double d, double e, double f, double g, double h) {
  return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h;
}
/* Too many registers: no variant is called. */
#pragma omp declare simd notinbranch
double nine(double a, double b, double c, double d, double e, double f, double g, double h, double i) {
  return a + b + c + d + e + f + g + h + i;
}

/* A function whose variants return something else, which tells which one was called. */
double marked(double x) { return x; }
/* And one with one variant, for a linear integer. */
double marked_at(double x, int64_t i) { return x + (double)i; }
#ifdef __x86_64__
double2 _ZGVbN2v_marked(double2 x) { return x + 1000; }
__attribute__((target("avx2"))) double4 _ZGVdN4v_marked(double4 x) { return x + 2000; }
__attribute__((target("avx512f"))) double8 _ZGVeN8v_marked(double8 x) { return x + 3000; }
double2 _ZGVbN2vl_marked_at(double2 x, int64_t i) { return x + (double2){i, i + 1} + 1000; }
#else
double2 _ZGVnN2v_marked(double2 x) { return x + 1000; }
double2 _ZGVnN2vl_marked_at(double2 x, int64_t i) { return x + (double2){i, i + 1} + 1000; }
#endif

double without(double x) { return x; }
int32_t status(int32_t x) { return x; }
long double wider(long double x) { return x; }
