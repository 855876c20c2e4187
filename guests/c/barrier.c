/* barrier [THREADS [ROUNDS [PAGES]]]: a garbage collector's write barrier by mprotect. The heap is read-only
 * after each collection; the first write to a page faults, the handler marks its card and makes the
 * page writable, and the write is done again. Between rounds, with all threads stopped, every page
 * that changed must be marked, and no page that did not. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fail.h"

enum { PAGES_MAX = 1024, THREADS_MAX = 16, WRITES = 300, OBJECT = 64 };

static size_t page, pages;
static unsigned char *heap, *copy;
static atomic_int marked[PAGES_MAX];
static atomic_long faults;
static pthread_barrier_t turn;
static int threads, rounds;

static void on_fault(int signal, siginfo_t *info, void *context)
{
    (void)context;
    uintptr_t at = (uintptr_t)info->si_addr - (uintptr_t)heap;
    if (signal != SIGSEGV || info->si_code != SEGV_ACCERR || at >= pages * page)
        FAIL("barrier: fault: expected SEGV_ACCERR in the heap, seen signal %d, code %d, offset %#lx",
             signal, info->si_code, (unsigned long)at);
    atomic_fetch_add(&faults, 1);
    atomic_store(&marked[at / page], 1);
    if (mprotect(heap + at / page * page, page, PROT_READ | PROT_WRITE) != 0)
        FAIL("barrier: mprotect in the handler: expected success, seen an error");
}

static unsigned draw(unsigned *state)
{
    *state = *state * 1103515245 + 12345;
    return *state >> 8;
}

/* Each thread has every n-th object, so that pages are shared and bytes are not. */
static void *mutate(void *argument)
{
    int me = (int)(intptr_t)argument;
    unsigned state = 77 + (unsigned)me;
    size_t objects = pages * page / OBJECT / (size_t)threads;
    for (int round = 1; round <= rounds; round++) {
        pthread_barrier_wait(&turn);
        /* Half of the heap is left alone, another half each time. */
        for (int n = 0; n < WRITES; n++) {
            size_t object = (draw(&state) % objects * (size_t)threads + (size_t)me) * OBJECT;
            if ((object / page + (size_t)round) % 2)
                memset(heap + object, round % 251, OBJECT);
        }
        pthread_barrier_wait(&turn);
    }
    return NULL;
}

static long collect(int round)
{
    long changed = 0;
    for (size_t n = 0; n < pages; n++) {
        int differs = memcmp(heap + n * page, copy + n * page, page) != 0;
        if (differs && !atomic_load(&marked[n]))
            FAIL("barrier: round %d, page %zu: expected a mark, seen none", round, n);
        if (atomic_load(&marked[n]) && (n + (size_t)round) % 2 == 0)
            FAIL("barrier: round %d, page %zu: expected no mark, seen one", round, n);
        changed += differs;
        atomic_store(&marked[n], 0);
    }
    memcpy(copy, heap, pages * page);
    if (mprotect(heap, pages * page, PROT_READ) != 0)
        FAIL("barrier: mprotect: expected success, seen an error");
    return changed;
}

int main(int argc, char **argv)
{
    pthread_t each[THREADS_MAX];
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    long changed = 0;
    threads = argc > 1 ? atoi(argv[1]) : 4;
    rounds = argc > 2 ? atoi(argv[2]) : 20;
    pages = argc > 3 ? (size_t)atol(argv[3]) : 48;
    if (threads < 1 || threads > THREADS_MAX || rounds < 1 || pages < 1 || pages > PAGES_MAX)
        FAIL("barrier: arguments: expected 1 to %d threads, a number of rounds, 1 to %d pages", THREADS_MAX,
             PAGES_MAX);
    page = (size_t)sysconf(_SC_PAGESIZE);
    heap = mmap(NULL, pages * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    copy = calloc(pages, page);
    if (heap == MAP_FAILED || !copy || sigaction(SIGSEGV, &action, NULL) != 0)
        FAIL("barrier: at the start: expected memory and a handler, seen an error");
    pthread_barrier_init(&turn, NULL, (unsigned)threads + 1);
    for (int n = 0; n < threads; n++)
        if (pthread_create(&each[n], NULL, mutate, (void *)(intptr_t)n) != 0)
            FAIL("barrier: thread %d: expected one, seen an error", n);
    for (int round = 1; round <= rounds; round++) {
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
        changed += collect(round);
    }
    for (int n = 0; n < threads; n++)
        pthread_join(each[n], NULL);
    if (atomic_load(&faults) < changed)
        FAIL("barrier: faults: expected at least %ld, seen %ld", changed, atomic_load(&faults));
    printf("barrier: %d threads, %d rounds: every change was marked\n", threads, rounds);
    puts("ok");
    return 0;
}
