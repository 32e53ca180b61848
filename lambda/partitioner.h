/*
 * Which partition a key belongs to: murmur2 of its bytes, without the sign, modulo the number of partitions, which is
 * what the default partitioner of Kafka's Java client does. A producer of either door that uses it so puts equal keys
 * into one partition. (librdkafka's default is another hash; "murmur2_random" is this one.)
 */
#ifndef REST_PARTITIONER_H
#define REST_PARTITIONER_H

#include "protocol/bytes/slice.h"

uint32_t rest_murmur2(struct kp_slice bytes);
/* partitions >= 1 */
int32_t rest_partition_of_key(struct kp_slice key, int32_t partitions);

#endif
