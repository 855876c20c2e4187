/* signals: handlers as programs use them: a stack that overflows, caught on an alternate one and left
 * by siglongjmp; loads that are skipped or completed by changing registers; handlers in handlers;
 * masks; calls that are interrupted, restarted, or cut short; memory that is mapped when touched. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "fail.h"

#define EXPECT(wanted, seen, what)                                                                 \
    do {                                                                                           \
        long wanted_ = (long)(wanted), seen_ = (long)(seen);                                       \
        if (wanted_ != seen_)                                                                      \
            FAIL("signals: %s: expected %ld, seen %ld", what, wanted_, seen_);                     \
    } while (0)

static size_t page;

static void handle(int signal, void (*handler)(int, siginfo_t *, void *), int flags)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    EXPECT(0, sigaction(signal, &action, NULL), "sigaction");
}

static unsigned char *pages(size_t count, int rights)
{
    void *memory = mmap(NULL, count * page, rights, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        FAIL("signals: mmap of %zu pages: expected memory, seen an error", count);
    return memory;
}

/* A stack overflow. */
static sigjmp_buf back;
static unsigned char *alternate;
static volatile int depth;

static void on_overflow(int signal, siginfo_t *info, void *context)
{
    unsigned char here;
    (void)context;
    EXPECT(SIGSEGV, signal, "the overflow's signal");
    if (info->si_code != SEGV_MAPERR && info->si_code != SEGV_ACCERR)
        FAIL("signals: overflow: expected a SEGV code, seen %d", info->si_code);
    if (&here < alternate || &here >= alternate + SIGSTKSZ * 4)
        FAIL("signals: overflow: expected the handler on the alternate stack, seen it elsewhere");
    stack_t now;
    EXPECT(0, sigaltstack(NULL, &now), "sigaltstack in the handler");
    EXPECT(SS_ONSTACK, now.ss_flags, "its flags in the handler");
    now.ss_flags = SS_DISABLE;
    EXPECT(-1, sigaltstack(&now, NULL), "a change of the stack in use");
    EXPECT(EPERM, errno, "its error");
    siglongjmp(back, 1);
}

__attribute__((noinline)) static int recurse(int n)
{
    volatile char room[512];
    room[0] = (char)n;
    depth = n;
    return n == INT32_MAX ? room[0] : recurse(n + 1) + room[0];
}

static void overflow(void)
{
    alternate = malloc(SIGSTKSZ * 4);
    stack_t stack = {.ss_sp = alternate, .ss_size = SIGSTKSZ * 4};
    EXPECT(0, sigaltstack(&stack, NULL), "sigaltstack");
    handle(SIGSEGV, on_overflow, SA_ONSTACK);
    for (int times = 0; times < 3; times++) {
        sigset_t mask;
        depth = 0;
        if (sigsetjmp(back, 1) == 0)
            recurse(0);
        if (depth < 1000)
            FAIL("signals: overflow: expected a deep stack, seen %d calls", depth);
        sigprocmask(SIG_BLOCK, NULL, &mask);
        EXPECT(0, sigismember(&mask, SIGSEGV), "SIGSEGV held back after the jump");
    }
    stack.ss_flags = SS_DISABLE;
    EXPECT(0, sigaltstack(&stack, NULL), "sigaltstack off");
    free(alternate);
    puts("signals: stack overflows caught on the alternate stack");
}

/* Registers that the handler changes. */
static void *expected_at;
static volatile int expected_code, seen_signal;

static void on_load(int signal, siginfo_t *info, void *context)
{
    ucontext_t *user = context;
    seen_signal = signal;
    EXPECT(expected_code, info->si_code, "the code of a load");
    if (info->si_addr != expected_at)
        FAIL("signals: a load: expected address %p, seen %p", expected_at, info->si_addr);
    user->uc_mcontext.__gregs[REG_PC] += 4;
    user->uc_mcontext.__gregs[REG_A0] = 4711;
}

static long load(void *at)
{
    register long value __asm__("a0");
    __asm__ volatile(".option push\n.option norvc\nld a0, 0(%1)\n.option pop" : "=r"(value) : "r"(at) : "memory");
    return value;
}

static void registers(void)
{
    unsigned char *memory = pages(3, PROT_READ | PROT_WRITE);
    EXPECT(0, mprotect(memory, page, PROT_NONE), "mprotect");
    EXPECT(0, munmap(memory + 2 * page, page), "munmap");
    handle(SIGSEGV, on_load, 0);
    expected_at = memory + 8;
    expected_code = SEGV_ACCERR;
    EXPECT(4711, load(expected_at), "a load from a page without rights");
    expected_at = memory + 2 * page + 16;
    expected_code = SEGV_MAPERR;
    EXPECT(4711, load(expected_at), "a load from a hole");
    EXPECT(SIGSEGV, seen_signal, "its signal");
    EXPECT(0, load(memory + page), "a load from memory");
    munmap(memory, 2 * page);
    puts("signals: loads completed by their handler");
}

/* Memory that is mapped when it is touched. */
static unsigned char *volatile lazy;
static volatile int mapped;

static void on_touch(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    size_t index = (size_t)((unsigned char *)info->si_addr - lazy) / page;
    unsigned char *at = lazy + index * page;
    EXPECT(SEGV_MAPERR, info->si_code, "the code of a touch");
    if (mmap(at, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at)
        FAIL("signals: mmap in the handler: expected the page, seen another");
    memset(at, (int)index, page);
    mapped++;
}

static void lazily(void)
{
    lazy = pages(32, PROT_NONE);
    munmap(lazy, 32 * page);
    handle(SIGSEGV, on_touch, 0);
    for (size_t n = 0; n < 64; n++)
        EXPECT(n * 7 % 32, lazy[n * 7 % 32 * page + n], "a byte that its handler mapped");
    EXPECT(32, mapped, "pages mapped");
    munmap(lazy, 32 * page);
    puts("signals: 32 pages mapped by their handler");
}

/* Handlers in handlers, and what their masks hold back. */
static volatile char order[16];
static volatile int events;

static void on_inner(int signal, siginfo_t *info, void *context)
{
    (void)info, (void)context;
    order[events++] = signal == SIGUSR1 ? '1' : '2';
    if (signal == SIGUSR1 && events == 1) {
        raise(SIGUSR1); /* held back until this one is done */
        raise(SIGUSR2); /* comes at once */
        order[events++] = '.';
    }
}

static void nested(void)
{
    sigset_t both, before, pending;
    handle(SIGUSR1, on_inner, 0);
    handle(SIGUSR2, on_inner, 0);
    raise(SIGUSR1);
    for (int n = 0; n < 4; n++)
        EXPECT("12.1"[n], order[n], "the order of nested handlers");
    sigemptyset(&both);
    sigaddset(&both, SIGUSR1);
    sigaddset(&both, SIGUSR2);
    EXPECT(0, sigprocmask(SIG_BLOCK, &both, &before), "sigprocmask");
    events = 1;
    raise(SIGUSR2);
    raise(SIGUSR1);
    raise(SIGUSR1);
    EXPECT(1, events, "handlers that ran although held back");
    sigpending(&pending);
    EXPECT(1, sigismember(&pending, SIGUSR1) && sigismember(&pending, SIGUSR2), "pending signals");
    EXPECT(0, sigprocmask(SIG_SETMASK, &before, NULL), "sigprocmask back");
    EXPECT(3, events, "handlers that ran when let through");
    puts("signals: handlers nested and held back");
}

/* Calls that a handler comes in the way of. */
static int ends[2];
static atomic_int handled, begun, result;

static void on_poke(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info, (void)context;
    /* A call of its own does not disturb the one that it interrupts. */
    if (write(STDERR_FILENO, "", 0) != 0)
        FAIL("signals: a write of nothing: expected 0, seen an error");
    atomic_fetch_add(&handled, 1);
}

static void *read_byte(void *argument)
{
    char byte;
    (void)argument;
    atomic_store(&begun, 1);
    ssize_t count = read(ends[0], &byte, 1);
    atomic_store(&result, count < 0 ? -errno : (int)count);
    return NULL;
}

static unsigned char block[4 * 65536];

static void *write_block(void *argument)
{
    (void)argument;
    ssize_t count = write(ends[1], block, sizeof block);
    atomic_store(&result, count < 0 ? -errno : (int)count);
    atomic_store(&begun, 2);
    return NULL;
}

static pthread_t begin(void *(*work)(void *), int flags)
{
    pthread_t thread;
    EXPECT(0, pipe(ends), "pipe");
    handle(SIGUSR1, on_poke, flags);
    atomic_store(&begun, 0);
    atomic_store(&handled, 0);
    atomic_store(&result, 0);
    EXPECT(0, pthread_create(&thread, NULL, work, NULL), "pthread_create");
    return thread;
}

static void interrupted(void)
{
    pthread_t thread = begin(read_byte, 0);
    while (atomic_load(&result) == 0) {
        pthread_kill(thread, SIGUSR1);
        sched_yield();
    }
    pthread_join(thread, NULL);
    EXPECT(-EINTR, atomic_load(&result), "a read that is interrupted");

    thread = begin(read_byte, SA_RESTART);
    while (atomic_load(&handled) < 20) {
        pthread_kill(thread, SIGUSR1);
        sched_yield();
    }
    EXPECT(0, atomic_load(&result), "a read that is restarted");
    EXPECT(1, write(ends[1], "x", 1), "write");
    pthread_join(thread, NULL);
    EXPECT(1, atomic_load(&result), "the restarted read");

    for (size_t n = 0; n < sizeof block; n++)
        block[n] = (unsigned char)(n * 31 >> 4);
    thread = begin(write_block, SA_RESTART);
    unsigned char byte;
    EXPECT(1, read(ends[0], &byte, 1), "read"); /* it has begun */
    while (atomic_load(&begun) != 2) {
        pthread_kill(thread, SIGUSR1);
        sched_yield();
    }
    pthread_join(thread, NULL);
    int moved = atomic_load(&result);
    if (moved < 65536 || moved >= (int)sizeof block)
        FAIL("signals: a write cut short: expected a part, seen %d", moved);
    for (int n = 1; n < moved; n++)
        if (read(ends[0], &byte, 1) != 1 || byte != block[n])
            FAIL("signals: byte %d of a write cut short: expected %d, seen %d", n, block[n], byte);
    puts("signals: calls interrupted, restarted and cut short");
}

static void no_room(void)
{
    unsigned char *top = pages(2, PROT_NONE) + 2 * page;
    pid_t child = fork();
    if (child == 0) {
        handle(SIGUSR1, on_poke, 0);
        signal(SIGSEGV, SIG_DFL);
        long me = getpid();
        register long a0 __asm__("a0") = me, a1 __asm__("a1") = SIGUSR1, a7 __asm__("a7") = 129;
        __asm__ volatile("mv s1, sp\nmv sp, %3\necall\nmv sp, s1"
                         : "+r"(a0) : "r"(a1), "r"(a7), "r"(top) : "s1", "memory");
        _exit(1);
    }
    int status = 0;
    EXPECT(child, waitpid(child, &status, 0), "waitpid");
    EXPECT(SIGSEGV, status & 0xff7f, "status without room for a frame");
    puts("signals: no room for a frame is SIGSEGV");
}

int main(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    overflow();
    registers();
    lazily();
    nested();
    interrupted();
    fflush(stdout);
    no_room();
    puts("ok");
    return 0;
}
