/* The CNI plugins of underlay networks: one static program, whose type is the name that it is called by.
 *
 * It does nothing itself: the node process (spiderpool-agent) answers. While that is away, nothing is added; what was
 * added can be taken away where the node process finds what is left over later.
 */
#define PROGRAM "spiderpool"
#ifndef ANSWER_SECONDS
#define ANSWER_SECONDS 115 /* a pod with several networks; the kubelet waits two minutes */
#endif
#include "wire.h"

#define RUN_DIR "/var/run/spidernet"
#define SOCKET "spiderpool.sock"
#define CACHE_DIR "/var/lib/cni/multus"
#define LOOK "See `kubectl -n kube-system get pods -l app.kubernetes.io/component=spiderpool-agent -o wide`."

struct config {
    struct heading heading;
    struct slice run_dir, cache_dir;
};

static void note(void *context, struct slice key, struct slice value) {
    struct config *config = context;
    if (same(value, "null")) value = (struct slice){0};
    if (note_heading(&config->heading, key, value)) return;
    if (same(key, "run_dir")) config->run_dir = value;
    else if (same(key, "cniDir")) config->cache_dir = value;
}

static struct config understand(struct slice text) {
    struct config config = {0};
    config.heading.sound = members(text, true, note, &config);
    understand_version(&config.heading);
    return config;
}

/* Whether a container may have networks by us: the node process keeps what each has in a file of its name. */
static bool may_have_networks(const struct config *config) {
    const char *container = getenv("CNI_CONTAINERID");
    struct slice folder = plain(config->cache_dir);
    if (container == NULL || container[0] == '\0' || strchr(container, '/') != NULL) return false;
    if (folder.at == NULL || folder.length == 0 || folder.length > 4096) folder = sliced(CACHE_DIR);
    char *path = made("%.*s/%s", (int)folder.length, folder.at, container);
    bool there = access(path, F_OK) == 0 || errno != ENOENT;
    free(path);
    return there;
}

static int alone(const char *type, const char *command, const struct config *config, const char *why) {
    bool meta = strcmp(type, "multus") == 0;
    if (strcmp(command, "DEL") == 0 && (!meta || !may_have_networks(config))) return 0;
    bool status = strcmp(command, "STATUS") == 0;
    char *msg = made("%s %s: spiderpool-agent on this node does not answer (%s)", type, command, why);
    int code = fail(status ? UNAVAILABLE : LATER, msg, status ? LOOK : "It is tried again until it does. " LOOK);
    free(msg);
    return code;
}

/* Have the node process answer; alone where it does not. */
static int carry(const char *type, const char *command, const struct config *config, struct slice text) {
    const char *given = getenv("SPIDERPOOL_RUN_DIR");
    struct slice folder = given != NULL && given[0] != '\0' ? sliced(given) : plain(config->run_dir);
    if (folder.at == NULL || folder.length == 0) folder = sliced(RUN_DIR);
    if (folder.at[0] != '/' || folder.length > 4096)
        return fail(CONFIG, "run_dir is no path", "Write an absolute one, as " RUN_DIR ".");
    char *path = made("%.*s/" SOCKET, (int)folder.length, folder.at);
    struct bytes answer = {0};
    char *why = NULL;
    int code = 0;
    int connection = ask(path, text);
    if (connection < 0 || !read_all(connection, &answer)) {
        why = errno == EAGAIN ? made("%s: no answer in %d s", path, ANSWER_SECONDS)
                              : made("%s: %s", path, strerror(errno));
    } else {
        const char *end = end_of_code(&answer, &code);
        if (end != NULL) code = say(code, end + 1, answer.length - (size_t)(end + 1 - answer.at));
        else why = made("it has ended before it answered");
    }
    if (connection >= 0) (void)close(connection);
    if (why != NULL) code = alone(type, command, config, why);
    free(answer.at);
    free(path);
    free(why);
    return code;
}

static int answer(const char *type, const char *command, struct slice text) {
    struct config config = understand(text);
    int since = V_0_3_0, code = 0;
    if (strcmp(command, "VERSION") == 0) return versions();
    if (strcmp(command, "DEL") == 0) return carry(type, command, &config, text);
    if (strcmp(command, "CHECK") == 0) since = V_0_4_0;
    else if (strcmp(command, "GC") == 0 || strcmp(command, "STATUS") == 0) since = V_1_1_0;
    else if (strcmp(command, "ADD") != 0) {
        char *msg = made("CNI_COMMAND is '%.40s'", command);
        code = fail(ENVIRONMENT, msg, "A container runtime sets it to ADD, DEL, CHECK, GC, STATUS or VERSION.");
        free(msg);
        return code;
    }
    code = check(&config.heading, since, command);
    if (code == 0 && since != V_1_1_0) code = missing(command);
    return code != 0 ? code : carry(type, command, &config, text);
}

int main(int count, char **words) {
    const char *type = count > 0 && words[0] != NULL ? basename(words[0]) : "";
    const char *command = getenv("CNI_COMMAND");
    struct bytes text = {0};
    int code = 0;
    if (setenv("CNI_PLUGIN", type, 1) != 0) out_of_memory();
    if (!read_all(STDIN_FILENO, &text)) {
        const int problem = errno;
        char *msg = problem == EFBIG ? made("the network configuration is longer than %zu bytes", MOST)
                                     : made("standard input cannot be read: %s", strerror(problem));
        code = fail(problem == EFBIG ? CONFIG : OURS, msg, "");
        free(msg);
    } else {
        code = answer(type, command != NULL ? command : "", (struct slice){text.at, text.length});
    }
    free(text.at);
    return code;
}
