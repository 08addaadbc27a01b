/* Loops in C. They call a function of another library through a pointer, so that no compiler can
   inline it. */

#include <stddef.h>

void over_numbers(double (*f)(double), size_t n, const double *x, double *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = f(x[i]);
}

void over_rows(void (*f)(const double *, const double *, double *), size_t n,
               const double *a, const double *b, double *c)
{
    for (size_t i = 0; i < n; i++)
        f(a + 3 * i, b + 3 * i, c + 3 * i);
}
