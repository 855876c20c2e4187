/* malloc_threads [THREADS [ROUNDS]]: threads that hammer malloc, realloc and free, and check what they
 * wrote. Each byte of a block tells its thread and block, so that an overlap shows. Blocks also change
 * hands: one thread fills them, another checks and frees them. */
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "fail.h"

enum { SLOTS = 64, THREADS_MAX = 64, SHARED = 32 };

struct block {
    unsigned char *bytes;
    size_t size;
    unsigned char mark;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block shared[SHARED];
static unsigned long handed;
static long rounds;

static uint64_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Mostly small, some of many pages, a few beyond malloc's threshold for mmap. */
static size_t some_size(uint64_t *state)
{
    uint64_t kind = draw(state) % 100;
    return 1 + draw(state) % (kind < 80 ? 512 : kind < 98 ? 16384 : 200000);
}

static void check(const struct block *block, size_t size, long thread, const char *when)
{
    for (size_t at = 0; at < size; at++)
        if (block->bytes[at] != block->mark)
            FAIL("malloc_threads: thread %ld, %s, byte %zu of %zu: expected %d, seen %d", thread, when,
                 at, block->size, block->mark, block->bytes[at]);
}

static void resize(struct block *block, size_t size, long thread)
{
    size_t kept = block->size < size ? block->size : size;
    unsigned char *bytes = realloc(block->bytes, size);
    if (!bytes)
        FAIL("malloc_threads: thread %ld, realloc to %zu: expected memory, seen none", thread, size);
    *block = (struct block){bytes, size, block->mark};
    check(block, kept, thread, "after realloc");
    memset(bytes, block->mark, size);
}

/* Puts a block where another thread will find it, and takes the one that was there. */
static void exchange(struct block *block, uint64_t *state)
{
    pthread_mutex_lock(&lock);
    struct block *place = &shared[draw(state) % SHARED], other = *place;
    *place = *block;
    *block = other;
    handed++;
    pthread_mutex_unlock(&lock);
}

static void *hammer(void *argument)
{
    long thread = (long)argument;
    uint64_t state = 0x9e3779b97f4a7c15u * (thread + 1);
    struct block slots[SLOTS] = {0};
    for (long round = 0; round < rounds; round++) {
        struct block *block = &slots[draw(&state) % SLOTS];
        if (block->bytes)
            check(block, block->size, thread, "later");
        switch (block->bytes ? draw(&state) % 3 : 3) {
        case 0:
            free(block->bytes);
            *block = (struct block){0};
            break;
        case 1:
            resize(block, some_size(&state), thread);
            break;
        case 2:
            exchange(block, &state);
            break;
        default:
            block->mark = (unsigned char)(thread * 37 + round);
            resize(block, some_size(&state), thread);
        }
    }
    for (int slot = 0; slot < SLOTS; slot++) {
        if (slots[slot].bytes)
            check(&slots[slot], slots[slot].size, thread, "at the end");
        free(slots[slot].bytes);
    }
    return (void *)(thread + 1);
}

int main(int argc, char **argv)
{
    long threads = argc > 1 ? atol(argv[1]) : 4;
    rounds = argc > 2 ? atol(argv[2]) : 5000;
    if (threads < 1 || threads > THREADS_MAX || rounds < 0)
        FAIL("malloc_threads: arguments: expected 1 to %d threads and a number of rounds", THREADS_MAX);
    pthread_t ids[THREADS_MAX];
    for (long thread = 0; thread < threads; thread++) {
        int error = pthread_create(&ids[thread], NULL, hammer, (void *)thread);
        if (error)
            FAIL("malloc_threads: pthread_create %ld: expected 0, seen %d", thread, error);
    }
    for (long thread = 0; thread < threads; thread++) {
        void *result;
        int error = pthread_join(ids[thread], &result);
        if (error || (long)result != thread + 1)
            FAIL("malloc_threads: pthread_join %ld: expected 0 and %ld, seen %d and %ld", thread,
                 thread + 1, error, (long)result);
    }
    for (int place = 0; place < SHARED; place++) {
        if (shared[place].bytes)
            check(&shared[place], shared[place].size, -1, "left over");
        free(shared[place].bytes);
    }
    printf("malloc_threads: %ld threads, %ld rounds each, blocks changed hands: %s\n", threads, rounds,
           handed ? "yes" : "no");
    puts("ok");
    return 0;
}
