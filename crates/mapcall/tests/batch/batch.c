/* What the batches call. Each function counts, so that a refused batch is seen not to have run. */

#include <complex.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

static _Atomic long calls;

long called(void) { return calls; }

double add(double x, double y) { calls++; return x + y; }
double half(double x) { calls++; return x / 2; }
void nothing(double x) { (void)x; calls++; }

void axpy(size_t n, float a, const float *x, float *y)
{
    calls++;
    for (size_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

void scale(size_t n, double a, double *x)
{
    calls++;
    for (size_t i = 0; i < n; i++)
        x[i] *= a;
}

float dot(size_t n, const float *x, const float *y)
{
    calls++;
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

void matmul(size_t m, size_t k, size_t p, const double *a, const double *b, double *c)
{
    calls++;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < p; j++) {
            c[i * p + j] = 0;
            for (size_t l = 0; l < k; l++)
                c[i * p + j] += a[i * k + l] * b[l * p + j];
        }
}

long mix(signed char a, unsigned short b, float c, const short *x, int *out, double *more)
{
    calls++;
    out[0] = x[0] + a;
    out[1] = x[1] * x[2] - b;
    more[0] = 2 * (double)c;
    return a * 1000L + b + (long)c;
}

void both(int n, const double *x, double *low, double *high)
{
    calls++;
    for (int i = 0; i < n; i++) {
        low[i] = x[i] - 1;
        high[i] = x[i] + 1;
    }
}

void tile(int n, short k, const int *x, int *y)
{
    calls++;
    for (int i = 0; i < n * k; i++)
        y[i] = x[i % n];
}

int status(int code) { calls++; return code; }

double fails(double x)
{
    calls++;
    if (x < 0)
        errno = EDOM;
    return x;
}

const char *name_of(int which) { calls++; return which ? "one" : NULL; }
void *open_it(int which) { (void)which; calls++; return NULL; }

/* Other types. */

struct pair { double x; int n; };
struct rgb { unsigned char r, g, b; };
struct big { double x[5]; };

struct pair turn(struct pair p, double by)
{
    calls++;
    struct pair turned = { p.n * by, (int)p.x };
    return turned;
}

struct rgb invert(struct rgb p)
{
    calls++;
    struct rgb inverted = { 255 - p.r, 255 - p.g, 255 - p.b };
    return inverted;
}

struct big grow(struct big p, const struct pair *q)
{
    calls++;
    for (int i = 0; i < 5; i++)
        p.x[i] += q->n;
    return p;
}

long double longer(long double x, int n) { calls++; return x * n; }
double _Complex conjugate(double _Complex z) { calls++; return conj(z); }
float _Complex conjugatef(float _Complex z) { calls++; return conjf(z); }
_Float16 twice(_Float16 x) { calls++; return x + x; }
_Bool less(float x, float y) { calls++; return x < y; }
_Bool is_not(_Bool x) { calls++; return !x; }
double real(double _Complex z) { calls++; return creal(z); }
int code_of(int e) { calls++; return e + 1; }

/* A millisecond. */
int slow(int x)
{
    calls++;
    struct timespec wait = { 0, 1000000 };
    nanosleep(&wait, NULL);
    return x;
}
