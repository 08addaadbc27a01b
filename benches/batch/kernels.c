/* The functions that the batches and the rivals call. */

#include <stddef.h>

/* It computes next to nothing, so the call takes most of the time. */
double f(double x)
{
    return x + 1;
}

void cross(const double a[3], const double b[3], double c[restrict 3])
{
    c[0] = a[1] * b[2] - a[2] * b[1];
    c[1] = a[2] * b[0] - a[0] * b[2];
    c[2] = a[0] * b[1] - a[1] * b[0];
}

/* Adds to sixteen sums, which the compiler keeps in vector registers. */
double sum(size_t n, const double x[n])
{
    double parts[16] = {0}, total = 0;
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t k = 0; k < 16; k++)
            parts[k] += x[i + k];
    for (size_t k = 0; k < 16; k++)
        total += parts[k];
    for (; i < n; i++)
        total += x[i];
    return total;
}

double sum_floats(size_t n, const float x[n])
{
    double parts[16] = {0}, total = 0;
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t k = 0; k < 16; k++)
            parts[k] += x[i + k];
    for (size_t k = 0; k < 16; k++)
        total += parts[k];
    for (; i < n; i++)
        total += x[i];
    return total;
}

double squares(size_t n, const double x[n])
{
    double parts[16] = {0}, total = 0;
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t k = 0; k < 16; k++)
            parts[k] += x[i + k] * x[i + k];
    for (size_t k = 0; k < 16; k++)
        total += parts[k];
    for (; i < n; i++)
        total += x[i] * x[i];
    return total;
}

void scale(size_t n, double a, const double x[restrict n], double y[restrict n])
{
    for (size_t i = 0; i < n; i++)
        y[i] = a * x[i];
}
