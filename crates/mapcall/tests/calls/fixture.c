/* What the tests call. Each function counts, so that a refused call is seen not to have run. */

#include <complex.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local int calls, freed;

int called(void) { return calls; }
int were_freed(void) { return freed; }

/* Arrays. */

void saxpy(size_t n, float a, const float *x, float *y)
{
    calls++;
    for (size_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

void outer(int m, int n, const double *x, const double *y, double *out)
{
    calls++;
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++)
            out[i * n + j] += x[i] * y[j];
}

double trace(const double *a)
{
    calls++;
    return a[0] + a[4] + a[8];
}

double mean(const double *x, unsigned long n)
{
    calls++;
    double sum = 0;
    for (unsigned long i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

#define LENGTH(name, type) type length_##name(const char *x, type n) { (void)x; calls++; return n; }
LENGTH(schar, signed char)
LENGTH(uchar, unsigned char)
LENGTH(short, short)
LENGTH(ushort, unsigned short)
LENGTH(int, int)
LENGTH(uint, unsigned)
LENGTH(long, long)
LENGTH(ulong, unsigned long)

void tile(int n, short k, const int *x, int *y)
{
    calls++;
    for (int i = 0; i < n * k; i++)
        y[i] = x[i % n];
}

void cumulate(int n, const double *x, double *y)
{
    calls++;
    for (int i = 0; i < n; i++)
        y[i + 1] = y[i] + x[i];
}

void pack(int n, const uint8_t *bits, uint8_t *out)
{
    calls++;
    for (int i = 0; i < n; i++)
        out[i / 8] |= (bits[i] != 0) << i % 8;
}

void every(int n, int k, const int *x, int *y)
{
    calls++;
    for (int i = 0; i < n / k; i++)
        y[i] = x[i * k];
}

void conjugate(int n, double _Complex *x)
{
    calls++;
    for (int i = 0; i < n; i++)
        x[i] = conj(x[i]);
}

void conjugatef(int n, float _Complex *x)
{
    calls++;
    for (int i = 0; i < n; i++)
        x[i] = conjf(x[i]);
}

void twice_half(int n, _Float16 *x)
{
    calls++;
    for (int i = 0; i < n; i++)
        x[i] *= 2;
}

/* Numbers. */

#define ECHO(name, type) type echo_##name(type x) { calls++; return x; }
enum sign { MINUS = -1, NONE, PLUS };
ECHO(bool, _Bool)
ECHO(char, char)
ECHO(schar, signed char)
ECHO(uchar, unsigned char)
ECHO(short, short)
ECHO(ushort, unsigned short)
ECHO(int, int)
ECHO(uint, unsigned)
ECHO(long, long)
ECHO(ulong, unsigned long)
ECHO(longlong, long long)
ECHO(ulonglong, unsigned long long)
ECHO(enum, enum sign)
ECHO(half, _Float16)
ECHO(float, float)
ECHO(double, double)
ECHO(extended, long double)
ECHO(complexf, float _Complex)
ECHO(complex, double _Complex)
ECHO(complexl, long double _Complex)

void extended_bytes(int n, const double *x, unsigned char *out)
{
    calls++;
    for (int i = 0; i < n; i++) {
        long double value = x[i];
        memset(out + 16 * i, 0, 16);
        memcpy(out + 16 * i, &value, sizeof value == 16 && __LDBL_MANT_DIG__ == 64 ? 10 : sizeof value);
    }
}

void extended_integer(int n, const long long *x, unsigned char *out)
{
    calls++;
    for (int i = 0; i < n; i++) {
        long double value = x[i];
        memset(out + 16 * i, 0, 16);
        memcpy(out + 16 * i, &value, sizeof value == 16 && __LDBL_MANT_DIG__ == 64 ? 10 : sizeof value);
    }
}

void halves(int n, const double *x, unsigned short *out)
{
    calls++;
    for (int i = 0; i < n; i++) {
        _Float16 half = (_Float16)x[i];
        memcpy(out + i, &half, 2);
    }
}

/* Texts, pointers, handles, functions. */

int text_length(const char *s)
{
    calls++;
    return s ? (int)strlen(s) : -1;
}

const char *name_of(int which)
{
    calls++;
    return which == 0 ? NULL : which == 1 ? "one" : "many";
}

int saxpy_status(size_t n, float a, const float *x, float *y)
{
    calls++;
    for (size_t i = 0; i < n; i++)
        y[i] += a * x[i];
    return 0;
}

float half_of(float x)
{
    calls++;
    return x / 2;
}

double second(const double *p)
{
    calls++;
    return p ? p[1] : 0;
}

void negate(double *p, size_t most)
{
    calls++;
    for (size_t i = 0; i < most; i++)
        p[i] = -p[i];
}

int byte_at(const void *p, size_t i)
{
    calls++;
    return p ? ((const unsigned char *)p)[i] : -1;
}

void zero_first(void *p)
{
    calls++;
    memset(p, 0, 4);
}

struct counter { int value; };

struct counter *counter_new(int value)
{
    calls++;
    if (value < 0)
        return NULL;
    struct counter *counter = malloc(sizeof *counter);
    counter->value = value;
    return counter;
}

int counter_next(struct counter *counter)
{
    calls++;
    return counter ? ++counter->value : -1;
}

int counter_free(struct counter *counter)
{
    calls++;
    freed++;
    int value = counter->value;
    free(counter);
    return value;
}

struct counter *counter_same(struct counter *counter) { calls++; return counter; }

/* A counter of its own. */
struct counter *counter_from(struct counter *counter) { return counter_new(counter->value); }

/* Frees it, and fails. */
int counter_take(struct counter *counter, int x)
{
    counter_free(counter);
    return x;
}

/* Leaves it for `counter_drop_held`. */
static _Thread_local struct counter *held;
int counter_hold(struct counter *counter) { calls++; held = counter; return 0; }
int counter_drop_held(void) { return counter_free(held); }

double *find(const double *p, size_t n, double x)
{
    calls++;
    for (size_t i = 0; i < n; i++)
        if (p[i] == x)
            return (double *)p + i;
    return NULL;
}

const char *behind(const char *s, int c)
{
    calls++;
    return strchr(s, c);
}

char *find_char(const char *s, int c)
{
    calls++;
    return strchr(s, c);
}

static const double constants[2] = {1.5, 2.5};
const double *constant(void) { calls++; return constants; }

int other_use(struct other *other)
{
    calls++;
    return other != NULL;
}

int increment(int x) { calls++; return x + 1; }
long increment_long(long x) { calls++; return x + 1; }

int apply(int (*f)(int), int x)
{
    calls++;
    return f ? f(x) : -1;
}

int compare(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

/* Structs. */

struct point { float x, y; };
struct particle { char tag; struct point at; double mass; };

struct task {
    const double *in;
    double *out;
    int n;
    unsigned mode : 3;
    int level : 5;
    union { int i; float f; } u;
    const char *name;
    char tag[8];
    const char *const *words;
    int (*op)(int);
    struct counter *counter;
    struct task *next;
};

int task_run(struct task *t)
{
    calls++;
    int total = t->n + 100 * (int)t->mode + 1000 * t->level + t->u.i;
    for (int i = 0; i < t->n; i++) t->out[i] = 2 * t->in[i];
    for (int i = 0; t->words && t->words[i]; i++) total += (int)strlen(t->words[i]);
    if (t->name) total += (int)strlen(t->name) + (int)strlen(t->tag);
    if (t->op) total = t->op(total);
    if (t->counter) total += t->counter->value;
    if (t->next) { t->next->n = total; t->next->name = "written by C"; }
    t->level = -1;
    return total;
}
double *task_out(struct task *t) { calls++; return t->out; }
int task_size(const struct task *t) { calls++; return t->n; }
double first_of(const double *x) { calls++; return x[0]; }
int halved(int x) { return x / 2; }

struct view { const double *x; int n; };
double view_sum(struct view v)
{
    calls++;
    double sum = 0;
    for (int i = 0; i < v.n; i++) sum += v.x[i];
    return sum;
}
double view_at(struct view v, int i) { calls++; return v.x[i]; }

struct point middle(struct point a, struct point b)
{
    calls++;
    return (struct point){(a.x + b.x) / 2, (a.y + b.y) / 2};
}

double moment(int n, const struct particle *p)
{
    calls++;
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += p[i].mass * (p[i].at.x + p[i].at.y) * p[i].tag;
    return sum;
}

/* Status codes. */

int status(int code) { calls++; return code; }
uint64_t big_status(void) { calls++; return UINT64_MAX; }
int set_errno(int code) { calls++; errno = code; return 7; }
int see_errno(void) { calls++; return errno; }

/* Annotations. */

double weighted(size_t n, const double *x, const double *w)
{
    calls++;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * (w ? w[i] : 1);
    return sum;
}

double sum_by_reference(const int *n, const double *x)
{
    calls++;
    double sum = 0;
    for (int i = 0; i < *n; i++)
        sum += x[i];
    return sum;
}

int moving(int n, const double *x, int window, int nout, double *out)
{
    calls++;
    for (int i = 0; i < nout; i++)
        for (int j = 0; j < window; j++)
            out[i] += x[i + j];
    return nout;
}

int squeeze(char *out, size_t *length, const char *s, size_t n)
{
    calls++;
    if (*length < n)
        return -1;
    *length = 0;
    for (size_t i = 0; i < n; i++)
        if (s[i] != ' ')
            out[(*length)++] = s[i];
    return 0;
}

double columns(int m, int n, const double *a, int lda)
{
    calls++;
    double sum = 0;
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++)
            sum += (10 * i + j) * a[j * lda + i];
    return sum;
}

size_t size_of(const void *p, size_t n) { calls++; return n; }
void *nothing(void) { calls++; return NULL; }
