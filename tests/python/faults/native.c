// C code of the tests of faults: reads and writes of arrays in threads of several kinds, and signal
// handlers of a library that knows nothing of mapcall.

#define _GNU_SOURCE
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// Arrays.

double total(size_t n, const double x[n]) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum;
}

void fill(size_t n, double y[n], double value) {
    for (size_t i = 0; i < n; i++)
        y[i] = value;
}

double row_total(const double x[512]) { return total(512, x); }

int call_back(int (*f)(int), int value) { return f(value); }

// Reads an array, sets started[0], and reads it again and again until stop[0] is set.
double total_until(size_t n, const double x[n], volatile int started[1], volatile int stop[1]) {
    double sum = 0;
    do {
        sum += total(n, x);
        started[0] = 1;
    } while (!stop[0]);
    return sum;
}

// Threads that Python does not know, with a small stack.

struct work {
    size_t n;
    const double *x;
    int (*f)(int);
    int has_alternate_stack;
    double result;
    pthread_t thread;
};

static void *run(void *argument) {
    struct work *work = argument;
    static __thread char alternate[1 << 16];
    if (work->has_alternate_stack) {
        stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
        sigaltstack(&stack, NULL);
    }
    work->result = work->f ? work->f(1) : total(work->n, work->x);
    return NULL;
}

static int start(struct work *work, size_t stack_size) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, stack_size);
    int failed = pthread_create(&work->thread, &attributes, run, work);
    pthread_attr_destroy(&attributes);
    return failed;
}

// The sum, by a thread that lives during the call only.
double total_in_thread(size_t n, const double x[n], int has_alternate_stack) {
    struct work work = {.n = n, .x = x, .has_alternate_stack = has_alternate_stack};
    // 128 KiB: the alternate stack is thread-local memory, which comes out of it.
    if (start(&work, 1 << 17))
        return -1;
    pthread_join(work.thread, NULL);
    return work.result;
}

// Calls back from a thread that lives during the call only. Python needs more stack.
int call_back_in_thread(int (*f)(int), int has_alternate_stack) {
    struct work work = {.f = f, .has_alternate_stack = has_alternate_stack};
    if (start(&work, 1 << 20))
        return -1;
    pthread_join(work.thread, NULL);
    return (int)work.result;
}

// A thread that outlives the call which starts it.
static struct work outside;

int start_outside(size_t n, const double *x, int has_alternate_stack) {
    outside = (struct work){.n = n, .x = x, .has_alternate_stack = has_alternate_stack};
    return start(&outside, 1 << 17);
}

int join_outside(void) { return pthread_join(outside.thread, NULL); }

// Signal handlers.

static struct {
    int count;
    // Of the last signal; -1 where the handler was not told.
    int signal, code;
    // Which signals were blocked in the handler.
    unsigned long long blocked;
    int is_on_alternate_stack;
} seen;

static char *own_page;
static int is_chaining;
static struct sigaction before[NSIG];

static void record(int number, int code) {
    sigset_t blocked;
    stack_t stack;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    sigaltstack(NULL, &stack);
    // A fault whose page is not put there comes again and again.
    if (++seen.count > 1000)
        signal(number, SIG_DFL);
    seen.signal = number;
    seen.code = code;
    seen.blocked = 0;
    for (int each = 1; each < 64; each++)
        seen.blocked |= (unsigned long long)(sigismember(&blocked, each) == 1) << each;
    seen.is_on_alternate_stack = !!(stack.ss_flags & SS_ONSTACK);
}

static void plain_handler(int number) { record(number, -1); }

// Opens the page of its own. Other faults go to the handler before, or kill the process.
static void info_handler(int number, siginfo_t *info, void *context) {
    char *address = info->si_addr;
    int is_fault = info->si_code > 0 && info->si_code != SI_KERNEL;
    record(number, info->si_code);
    if (!is_fault)
        return;
    if (own_page && address >= own_page && address < own_page + sysconf(_SC_PAGESIZE)) {
        mprotect(own_page, sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE);
        return;
    }
    if (is_chaining && before[number].sa_flags & SA_SIGINFO)
        before[number].sa_sigaction(number, info, context);
    else
        signal(number, SIG_DFL);
}

// flags: 1 SA_SIGINFO, 2 SA_NODEFER, 4 SA_RESETHAND, 8 SA_ONSTACK, 16 SIGUSR1 and SIGWINCH in the
// mask, 32 hands faults on.
int install(int number, int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    if (flags & 1) {
        action.sa_flags |= SA_SIGINFO;
        action.sa_sigaction = info_handler;
    } else
        action.sa_handler = plain_handler;
    action.sa_flags |= (flags & 2 ? SA_NODEFER : 0) | (flags & 4 ? SA_RESETHAND : 0);
    action.sa_flags |= flags & 8 ? SA_ONSTACK : 0;
    if (flags & 16) {
        sigaddset(&action.sa_mask, SIGUSR1);
        sigaddset(&action.sa_mask, SIGWINCH);
    }
    is_chaining = !!(flags & 32);
    return sigaction(number, &action, &before[number]);
}

void make_own_page(void) {
    own_page = mmap(NULL, sysconf(_SC_PAGESIZE), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

// Faults in the page once; returns what was written.
int use_own_page(int value) {
    mprotect(own_page, sysconf(_SC_PAGESIZE), PROT_NONE);
    own_page[5] = (char)value;
    return own_page[5];
}

int seen_count(void) { return seen.count; }
int seen_signal(void) { return seen.signal; }
int seen_code(void) { return seen.code; }
unsigned long long seen_blocked(void) { return seen.blocked; }
int seen_alternate_stack(void) { return seen.is_on_alternate_stack; }

// A thread that has a Python thread state, but runs no Python code: Cython makes such threads for
// `prange`, with OpenMP. These four are in the interpreter.

extern int PyGILState_Ensure(void);
extern void PyGILState_Release(int state);
extern void *PyEval_SaveThread(void);
extern void PyEval_RestoreThread(void *thread);

static void *run_with_state(void *argument) {
    int state = PyGILState_Ensure();
    void *thread = PyEval_SaveThread();
    run(argument);
    PyEval_RestoreThread(thread);
    PyGILState_Release(state);
    return NULL;
}

double total_with_state(size_t n, const double x[n]) {
    struct work work = {.n = n, .x = x};
    if (pthread_create(&work.thread, NULL, run_with_state, &work))
        return -1;
    pthread_join(work.thread, NULL);
    return work.result;
}
