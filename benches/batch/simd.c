/* A kernel with vector variants, which the compiler makes. Compiled with -O2 -fopenmp-simd. */

/* <math.h> declares the variants of the GNU C library for -ffast-math only. */
#pragma omp declare simd notinbranch
double exp(double x);

#pragma omp declare simd notinbranch
double swish(double x)
{
    return x / (1 + exp(-x));
}
