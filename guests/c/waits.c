/* waits: select, pselect, poll and ppoll with masks, sigsuspend; condition variables, semaphores and
 * the cancellation of who waits. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <sys/select.h>
#include <unistd.h>

#include "fail.h"

#define EXPECT(wanted, seen, what)                                                                 \
    do {                                                                                           \
        long wanted_ = (long)(wanted), seen_ = (long)(seen);                                       \
        if (wanted_ != seen_)                                                                      \
            FAIL("waits: %s: expected %ld, seen %ld", what, wanted_, seen_);                       \
    } while (0)

static int ends[2];

static void selects(void)
{
    fd_set to_read, to_write;
    struct timeval soon = {0, 1000};
    EXPECT(0, pipe(ends), "pipe");
    FD_ZERO(&to_read);
    FD_SET(ends[0], &to_read);
    EXPECT(0, select(ends[0] + 1, &to_read, NULL, NULL, &soon), "select of an empty pipe");
    EXPECT(0, FD_ISSET(ends[0], &to_read), "its bit");
    EXPECT(0, soon.tv_sec + soon.tv_usec, "the time that is left");
    FD_SET(ends[0], &to_read);
    FD_ZERO(&to_write);
    FD_SET(ends[1], &to_write);
    EXPECT(1, select(ends[1] + 1, &to_read, &to_write, NULL, NULL), "select of room for writing");
    EXPECT(0, FD_ISSET(ends[0], &to_read), "the bit of the empty end");
    EXPECT(1, FD_ISSET(ends[1], &to_write), "the bit of the end with room");
    EXPECT(1, write(ends[1], "x", 1), "write");
    FD_SET(ends[0], &to_read);
    EXPECT(2, select(ends[1] + 1, &to_read, &to_write, NULL, NULL), "select of both ends");
    close(ends[1]);
    FD_SET(ends[1], &to_write);
    EXPECT(-1, select(ends[1] + 1, NULL, &to_write, NULL, NULL), "select of what is closed");
    EXPECT(EBADF, errno, "its error");
    FD_SET(ends[0], &to_read);
    char byte;
    EXPECT(1, read(ends[0], &byte, 1), "read");
    EXPECT(1, select(ends[0] + 1, &to_read, NULL, NULL, NULL), "select of a pipe without writers");
    EXPECT(-1, select(-1, NULL, NULL, NULL, NULL), "select of -1 files");
    EXPECT(EINVAL, errno, "its error");
    close(ends[0]);
    puts("waits: select");
}

static volatile int handled;

static void on_signal(int signal)
{
    sigset_t now;
    sigprocmask(SIG_BLOCK, NULL, &now);
    EXPECT(1, sigismember(&now, signal), "the signal held back in its handler");
    EXPECT(0, sigismember(&now, SIGUSR2), "another in the mask of the wait");
    handled++;
}

static void masks(void)
{
    sigset_t both, none, now;
    struct pollfd file = {.events = POLLIN};
    EXPECT(0, pipe(ends), "pipe");
    file.fd = ends[0];
    sigemptyset(&none);
    sigemptyset(&both);
    sigaddset(&both, SIGUSR1);
    sigaddset(&both, SIGUSR2);
    sigprocmask(SIG_SETMASK, &both, NULL);
    signal(SIGUSR1, on_signal);
    for (int kind = 0; kind < 3; kind++) {
        raise(SIGUSR1);
        EXPECT(kind, handled, "signals handled although held back");
        int result = kind == 0   ? pselect(0, NULL, NULL, NULL, NULL, &none)
                     : kind == 1 ? ppoll(&file, 1, NULL, &none)
                                 : sigsuspend(&none);
        EXPECT(-1, result, "a wait that a signal ends");
        EXPECT(EINTR, errno, "its error");
        EXPECT(kind + 1, handled, "signals handled");
        sigprocmask(SIG_BLOCK, NULL, &now);
        EXPECT(1, sigismember(&now, SIGUSR1) && sigismember(&now, SIGUSR2), "the mask afterwards");
    }
    EXPECT(1, write(ends[1], "x", 1), "write");
    EXPECT(1, ppoll(&file, 1, NULL, &none), "ppoll of what is ready");
    sigprocmask(SIG_BLOCK, NULL, &now);
    EXPECT(1, sigismember(&now, SIGUSR1), "the mask afterwards");
    sigprocmask(SIG_SETMASK, &none, NULL);
    close(ends[0]);
    close(ends[1]);
    puts("waits: masks that are in force while one waits");
}

enum { TURNS = 300, PLAYERS = 3 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int turn;
static sem_t done;

static void *play(void *argument)
{
    int me = (int)(intptr_t)argument;
    pthread_mutex_lock(&lock);
    for (; turn < TURNS; turn++, pthread_cond_broadcast(&changed))
        while (turn % PLAYERS != me && turn < TURNS)
            pthread_cond_wait(&changed, &lock);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    sem_post(&done);
    return NULL;
}

static void *wait_for_ever(void *argument)
{
    sem_post(&done);
    for (;;)
        pause();
    return argument;
}

static void threads(void)
{
    pthread_t each[PLAYERS];
    void *result;
    sem_init(&done, 0, 0);
    for (int n = 0; n < PLAYERS; n++)
        EXPECT(0, pthread_create(&each[n], NULL, play, (void *)(intptr_t)n), "pthread_create");
    for (int n = 0; n < PLAYERS; n++)
        EXPECT(0, sem_wait(&done), "sem_wait");
    for (int n = 0; n < PLAYERS; n++)
        EXPECT(0, pthread_join(each[n], NULL), "pthread_join");
    EXPECT(1, turn >= TURNS, "turns");
    EXPECT(0, pthread_create(&each[0], NULL, wait_for_ever, NULL), "pthread_create");
    EXPECT(0, sem_wait(&done), "sem_wait");
    EXPECT(0, pthread_cancel(each[0]), "pthread_cancel");
    EXPECT(0, pthread_join(each[0], &result), "pthread_join");
    EXPECT(1, result == PTHREAD_CANCELED, "the end of who was cancelled");
    puts("waits: condition variables, semaphores, cancellation");
}

int main(void)
{
    selects();
    masks();
    threads();
    puts("ok");
    return 0;
}
