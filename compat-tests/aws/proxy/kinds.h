/* What a request is (kinds.def). */
#ifndef PROXY_KINDS_H
#define PROXY_KINDS_H

enum service { S3 = 1, DYNAMODB = 2 }; /* also a mask */

enum kind {
#define KIND(service, name, target) service##_##name,
#include "kinds.def"
#undef KIND
    KINDS,
};

#endif
