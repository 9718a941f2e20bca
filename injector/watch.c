/* pyhot watch PID: reload what is saved, as it is saved.
 *
 * The agent tells the files of the modules (as list-stale does); their folders are watched with
 * inotify(7), in the mount namespace of the process.  What is saved within a moment is reloaded
 * as one transaction.  Between reloads nothing of ours is in the process. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "channel.h"
#include "cleanup.h"
#include "job.h"
#include "report.h"
#include "text.h"

enum {
    SETTLE_MS = 100, /* editors save in steps, and version control systems many files */
    LOOK_MS = 1000,  /* poll misses a signal just before it, and an end where there is no pidfd */
};

struct source {
    char *module, *name; /* `name`: of the file in its folder */
    int folder;          /* watch descriptor */
    bool saved;
};

struct watch {
    const struct options *options;
    int inotify, pidfd;
    struct source *sources;
    size_t n;
};

static void forget_sources(struct watch *watch)
{
    for (size_t i = 0; i < watch->n; i++) {
        free(watch->sources[i].module);
        free(watch->sources[i].name);
    }
    free(watch->sources);
    watch->sources = NULL;
    watch->n = 0;
}

/* A file that cannot be watched (in an archive, in a folder that is gone) is passed over. */
static int add_source(struct watch *watch, const char *module, const char *file)
{
    const char *slash = strrchr(file, '/');
    _cleanup_free_ char *folder = NULL;
    struct source *source = &watch->sources[watch->n];

    if (!slash || *file != '/')
        return 0;
    if (asprintf(&folder, "/proc/%d/root%.*s/", watch->options->pid, (int)(slash - file), file) < 0)
        return folder = NULL, -1;
    source->folder = inotify_add_watch(watch->inotify, folder, IN_CLOSE_WRITE | IN_MOVED_TO);
    if (source->folder < 0)
        return 0;
    source->module = strdup(module);
    source->name = strdup(slash + 1);
    source->saved = false;
    watch->n++;
    return source->module && source->name ? 0 : -1;
}

/* Asks the process for its modules and their files, and watches those. */
static struct error *find_sources(struct watch *watch, struct json_object **listing)
{
    struct error *error = job_run(watch->options, PYHOT_LIST_STALE, listing);
    struct json_object *modules;
    int status = 0;

    if (error)
        return error;
    forget_sources(watch);
    modules = member_list(*listing, "modules");
    watch->sources = calloc(list_length(modules) + 1, sizeof(*watch->sources));
    for (size_t i = 0; watch->sources && !status && i < list_length(modules); i++) {
        struct json_object *module = json_object_array_get_idx(modules, i);

        status = add_source(watch, member_text(module, "name"), member_text(module, "file"));
    }
    if (watch->sources && !status)
        return NULL;
    json_object_put(*listing);
    return error_new(EXIT_CANNOT_ATTACH, "out-of-memory", "out of memory");
}

/* Marks what the waiting events are about.  False: there was none of our files. */
static bool take_events(struct watch *watch)
{
    char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    bool any = false;
    ssize_t n;

    while ((n = read(watch->inotify, buffer, sizeof(buffer))) > 0) {
        const struct inotify_event *event;

        for (char *at = buffer; at < buffer + n; at += sizeof(*event) + event->len) {
            event = (const struct inotify_event *)at;
            for (size_t i = 0; event->len && i < watch->n; i++) {
                struct source *source = &watch->sources[i];

                if (source->folder == event->wd && !strcmp(source->name, event->name))
                    any = source->saved = true;
            }
        }
    }
    return any;
}

/* Waits until some of the files were saved and a moment has passed since.  False: the process
 * has ended, or we were interrupted. */
static bool wait_for_save(struct watch *watch)
{
    struct pollfd fds[2] = {{.fd = watch->inotify, .events = POLLIN},
                            {.fd = watch->pidfd, .events = POLLIN}};
    bool any = false;

    while (!channel_interrupted) {
        int ready = poll(fds, 2, any ? SETTLE_MS : LOOK_MS);

        if (ready < 0 && errno != EINTR)
            return false;
        if (ready > 0 && fds[1].revents)
            return false;
        if (ready == 0 && any)
            return true;
        if (ready == 0 && kill(watch->options->pid, 0) && errno == ESRCH)
            return false;
        any |= take_events(watch);
    }
    return false;
}

/* Reloads what was saved.  An error of the new source, or one that may pass, is printed. */
static struct error *reload_saved(struct watch *watch)
{
    struct options options = *watch->options;
    _cleanup_free_ char **names = calloc(watch->n + 1, sizeof(*names));
    struct json_object *result;
    struct error *error;

    if (!names)
        return error_new(EXIT_CANNOT_ATTACH, "out-of-memory", "out of memory");
    options.modules = (struct names){.items = names};
    for (size_t i = 0; i < watch->n; i++) {
        if (watch->sources[i].saved)
            names[options.modules.n++] = watch->sources[i].module;
        watch->sources[i].saved = false;
    }
    error = job_run(&options, PYHOT_ATTACH, &result);
    if (error) {
        report_error(&options, error);
        error_free(error);
    } else {
        report_attach(&options, result);
        json_object_put(result);
    }
    report_flush(false);
    return NULL;
}

/* "watching 12 modules of process 42; saved already, not loaded: shop.cart" */
static void announce(const struct watch *watch, struct json_object *listing)
{
    struct json_object *modules = member_list(listing, "modules");
    const char *before = "; changed already (pyhot attach --stale): ";

    if (watch->options->json || watch->options->quiet)
        return;
    fputs("watching ", stdout);
    print_count(stdout, (int64_t)watch->n, "module");
    printf(" of process %d", watch->options->pid);
    for (size_t i = 0; i < list_length(modules); i++) {
        struct json_object *module = json_object_array_get_idx(modules, i);

        if (!report_is_stale(module))
            continue;
        fputs(before, stdout);
        print_safe(stdout, member_text(module, "name"), false);
        before = ", ";
    }
    putchar('\n');
    report_flush(false);
}

static struct error *watch_all(struct watch *watch)
{
    struct json_object *listing;
    struct error *error = find_sources(watch, &listing);

    if (error)
        return error;
    announce(watch, listing);
    json_object_put(listing);
    if (!watch->n)
        return error_new(EXIT_CANNOT_ATTACH, "no-source",
                         "process %d has no module whose file can be watched", watch->options->pid);
    while (wait_for_save(watch)) {
        if ((error = reload_saved(watch)))
            return error;
        /* The reload may have imported further modules. */
        error = find_sources(watch, &listing);
        if (!error) {
            json_object_put(listing);
            continue;
        }
        report_error(watch->options, error);
        error_free(error);
    }
    if (channel_interrupted)
        return NULL;
    return error_new(EXIT_CANNOT_ATTACH, "process-ended", "process %d has ended",
                     watch->options->pid);
}

static struct error *run(const struct options *options, enum exit_status *status)
{
    struct watch watch = {.options = options};
    struct error *error;

    *status = EXIT_DONE;
    watch.inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    watch.pidfd = (int)syscall(SYS_pidfd_open, options->pid, 0);
    if (watch.inotify < 0)
        error = error_errno(EXIT_CANNOT_ATTACH, "inotify", errno, "cannot watch files");
    else
        error = watch_all(&watch);
    forget_sources(&watch);
    if (watch.inotify >= 0)
        close(watch.inotify);
    if (watch.pidfd >= 0)
        close(watch.pidfd);
    return error;
}

static const struct argp argp = {
    .parser = parse_process,
    .args_doc = "PID [MODULE...]",
    .doc = "Reload modules of process PID whenever their source is saved: those named, or all that "
           "have source.  What is saved together is reloaded together.  Ends with the process, or "
           "at Ctrl-C.\v"
           "Exit status: 0 interrupted; 2 usage; 3 cannot attach, or the process ended.  With "
           "--json each reload is an object on a line of its own.",
    .children = common_options,
};

const struct command command_watch = {
    .name = "watch",
    .summary = "reload what is saved, as it is saved",
    .argp = &argp,
    .run = run,
};
