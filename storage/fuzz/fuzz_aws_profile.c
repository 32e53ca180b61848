/* The shared files, as people write them: the input up to its first NUL is the one, what follows the other. */
#include "storage/backends/aws/credential_profile.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"default", "p"};
    const uint8_t *nul = size == 0 ? NULL : memchr(data, '\0', size);
    size_t first = nul == NULL ? size : (size_t)(nul - data);
    size_t rest = nul == NULL ? size : first + 1;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct st_profile profile = {0};
        memcpy(profile.name, names[i], strlen(names[i]));
        st_profile_parse(&profile, ST_PROFILE_CONFIG, kp_slice_of(data, first));
        st_profile_parse(&profile, ST_PROFILE_CREDENTIALS, kp_slice_of(data + rest, size - rest));
        require(strcmp(profile.name, names[i]) == 0);
        require(strlen(profile.id) < sizeof profile.id && strlen(profile.secret) < sizeof profile.secret);
        require(strlen(profile.token) < sizeof profile.token && strlen(profile.region) < sizeof profile.region);
        require(strlen(profile.role_arn) < sizeof profile.role_arn && strlen(profile.sso) < sizeof profile.sso);
        require(profile.found || (profile.id[0] == '\0' && profile.region[0] == '\0' && !profile.too_long));
    }
    return 0;
}
