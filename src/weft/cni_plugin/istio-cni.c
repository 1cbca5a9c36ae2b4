/* The CNI plugin `istio-cni` for hosts without Python: one static program that needs nothing beside it.
 *
 * It does what istio_cni.py does, whose docstring has the protocol, but for one thing: when the node process does
 * not answer it cannot ask the API server, so it lets through only what the network configuration excludes.
 */
#define PROGRAM "istio-cni"
#ifndef ANSWER_SECONDS
#define ANSWER_SECONDS 75 /* the node process waits 30 s for a pod to be told of, and then it has rules to write */
#endif
#include "wire.h"

#define RUN_DIR "/var/run/istio-cni"
#define AGENT "istio-cni-node"

/* ---- the network configuration ---- */

struct config {
    struct heading heading;
    struct slice run_dir, excluded, owner;
};

static void note(void *context, struct slice key, struct slice value) {
    struct config *config = context;
    if (same(value, "null")) value = (struct slice){0};
    if (note_heading(&config->heading, key, value)) return;
    if (same(key, "cni_agent_run_dir")) config->run_dir = value;
    else if (same(key, "exclude_namespaces")) config->excluded = value;
    else if (same(key, "pod_namespace")) config->owner = value;
}

static struct config understand(struct slice text) {
    struct config config = {0};
    config.heading.sound = members(text, true, note, &config);
    understand_version(&config.heading);
    return config;
}

/* ---- alone ---- */

/* Tell the node's log and, where it listens, the node process's. */
static void tell(const char *folder, const char *level, const char *text) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char *line = made("%s %s", level, text);
    int length = snprintf(address.sun_path, sizeof address.sun_path, "%s/log.sock", folder);
    int to = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    (void)fprintf(stderr, "istio-cni: %s\n", line);
    /* best effort: the answer says the same */
    if (to >= 0 && length > 0 && (size_t)length < sizeof address.sun_path)
        (void)sendto(to, line, strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&address,
                     sizeof address);
    if (to >= 0) (void)close(to);
    free(line);
}

struct pod {
    struct slice namespace, name;
};

/* Which pod CNI_ARGS names; false where they are no NAME=VALUE pairs. */
static bool pod_of(const char *arguments, struct pod *pod) {
    while (*arguments != '\0') {
        size_t length = strcspn(arguments, ";");
        const char *equals = memchr(arguments, '=', length);
        if (length > 0 && equals == NULL) return false;
        if (length > 0) {
            struct slice name = {arguments, (size_t)(equals - arguments)};
            struct slice value = {equals + 1, length - name.length - 1};
            if (same(name, "K8S_POD_NAMESPACE")) pod->namespace = value;
            if (same(name, "K8S_POD_NAME")) pod->name = value;
        }
        arguments += length + (arguments[length] == ';');
    }
    return true;
}

struct search {
    struct slice wanted;
    bool found;
};

static void compare(void *context, struct slice key, struct slice value) {
    struct search *search = context;
    struct slice one = plain(value);
    (void)key;
    if (one.at != NULL && one.length == search->wanted.length && memcmp(one.at, search->wanted.at, one.length) == 0)
        search->found = true;
}

/* Why the configuration alone says that a pod is not the mesh's, or NULL. */
static const char *outside(const struct config *config, const struct pod *pod, struct slice owner) {
    struct search search = {pod->namespace, false};
    if (pod->namespace.length == 0 || pod->name.length == 0) return "it is no pod of Kubernetes";
    if (config->excluded.at != NULL && !members(config->excluded, false, compare, &search)) return NULL;
    if (search.found) return "its namespace is excluded";
    if (owner.length == pod->namespace.length && memcmp(owner.at, pod->namespace.at, owner.length) == 0 &&
        pod->name.length > strlen(AGENT "-") && memcmp(pod->name.at, AGENT "-", strlen(AGENT "-")) == 0)
        return "it is the node process itself";
    return NULL;
}

static int result(const struct config *config) {
    if (config->heading.before.at == NULL) {
        char *empty = made("{\"cniVersion\": \"%s\"}\n", VERSIONS[config->heading.version]);
        int code = say(0, empty, strlen(empty));
        free(empty);
        return code;
    }
    return say(0, config->heading.before.at, config->heading.before.length) || say(0, "\n", 1);
}

/* ADD without the node process: let through what is not the mesh's, and nothing else. */
static int attach(const struct config *config, const char *folder, const char *down, const char *look,
                  struct slice owner) {
    const char *arguments = getenv("CNI_ARGS");
    struct pod pod = {{"", 0}, {"", 0}};
    if (!pod_of(arguments != NULL ? arguments : "", &pod))
        return fail(ENVIRONMENT, "CNI_ARGS are no NAME=VALUE pairs", "Join them by semicolons.");
    if (config->excluded.at != NULL && config->excluded.at[0] != '[')
        return fail(CONFIG, "exclude_namespaces is no list", "Write [\"kube-system\"].");
    const char *through = outside(config, &pod, owner);
    int code = 0;
    char *said = made("pod %.*s/%.*s", (int)pod.namespace.length, pod.namespace.at, (int)pod.name.length, pod.name.at);
    if (through == NULL) {
        char *msg = made("%s does not start: %s, and nobody can be asked whether it is in the mesh (this program "
                         "cannot ask the API server)",
                         said, down);
        char *details = made("It is tried again until the node process is back. %s.", look);
        tell(folder, "error", msg);
        code = fail(LATER, msg, details);
        free(msg);
        free(details);
    } else {
        char *line = made("%s starts without us: %s; %s", said, through, down);
        tell(folder, "warn", line);
        free(line);
        code = result(config);
    }
    free(said);
    return code;
}

static int alone(const char *command, int since, const struct config *config, const char *folder, const char *why) {
    int code = check(&config->heading, since, command);
    if (code != 0) return code;
    struct slice owner = plain(config->owner);
    if (owner.at == NULL || owner.length == 0 || owner.length > 253) owner = sliced("istio-system");
    char *down = made("the node process of istio-cni does not answer (%s)", why);
    char *look = made("See `kubectl get pods -n %.*s -l k8s-app=%s -o wide`", (int)owner.length, owner.at, AGENT);
    if (strcmp(command, "ADD") == 0) {
        code = attach(config, folder, down, look, owner);
    } else {
        bool status = strcmp(command, "STATUS") == 0;
        char *msg = made("%s: %s", status ? "pods cannot be added" : "rules cannot be looked at", down);
        char *details = made("%s.", look);
        code = fail(status ? UNAVAILABLE : LATER, msg, details);
        free(msg);
        free(details);
    }
    free(down);
    free(look);
    return code;
}

/* Have the node process answer; alone where it does not. */
static int carry(const char *command, int since, const struct config *config, struct slice text) {
    struct slice folder = plain(config->run_dir);
    if (folder.at == NULL || folder.length == 0) folder = sliced(RUN_DIR);
    if (folder.at[0] != '/' || folder.length > 4096)
        return fail(CONFIG, "cni_agent_run_dir is no path", "Write an absolute one, as /var/run/istio-cni.");
    char *directory = made("%.*s", (int)folder.length, folder.at);
    char *path = made("%s/pluginevent.sock", directory);
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
    if (why != NULL) code = alone(command, since, config, directory, why);
    free(answer.at);
    free(directory);
    free(path);
    free(why);
    return code;
}

/* ---- the command ---- */

static int answer(const char *command, struct slice text) {
    struct config config = understand(text);
    int since = V_0_3_0;
    if (strcmp(command, "VERSION") == 0) return versions();
    if (strcmp(command, "CHECK") == 0) since = V_0_4_0;
    else if (strcmp(command, "GC") == 0 || strcmp(command, "STATUS") == 0) since = V_1_1_0;
    else if (strcmp(command, "ADD") != 0) {
        char *msg = made("CNI_COMMAND is '%.40s'", command);
        int code = fail(ENVIRONMENT, msg, "A container runtime sets it to ADD, DEL, CHECK, GC, STATUS or VERSION.");
        free(msg);
        return code;
    }
    if (strcmp(command, "GC") == 0) return check(&config.heading, since, command); /* nothing is kept, nothing collected */
    if (strcmp(command, "STATUS") != 0) {
        int code = missing(command);
        if (code != 0) return code;
    }
    return carry(command, since, &config, text);
}

int main(void) {
    const char *command = getenv("CNI_COMMAND");
    struct bytes text = {0};
    int code = 0;
    if (command == NULL) command = "";
    if (strcmp(command, "DEL") == 0) return 0; /* a pod's rules go with its namespace */
    if (!read_all(STDIN_FILENO, &text)) {
        const int problem = errno;
        char *msg = problem == EFBIG ? made("the network configuration is longer than %zu bytes", MOST)
                                     : made("standard input cannot be read: %s", strerror(problem));
        code = fail(problem == EFBIG ? CONFIG : OURS, msg, "");
        free(msg);
    } else {
        code = answer(command, (struct slice){text.at, text.length});
    }
    free(text.at);
    return code;
}
