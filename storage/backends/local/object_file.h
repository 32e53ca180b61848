/*
 * Objects that have a file to themselves: checkpoints and segments. The file is header (object_header.h) and data; it
 * is written under tmp/ and renamed, so that what stands under its name is whole, whoever was killed when.
 *
 *   checkpoints/JJJJJJJJJJ/SSSSSSSSSSSSSSSSSSSS-WWWWWWWWWWWWWWWW-NNNNNN     journal and slot decimal
 *   segments/JJJJJJJJJJ/WWWWWWWWWWWWWWWW-NNNNNN                             writer and its Nth object hexadecimal
 *
 * The writer is part of a checkpoint's name so that two processes that write one for the same slot never share an
 * object: the loser deletes its own.
 */
#ifndef ST_LOCAL_OBJECT_FILE_H
#define ST_LOCAL_OBJECT_FILE_H

#include "storage/backends/local/fs.h"
#include "storage/store.h"

void st_object_file_name(enum st_object_kind kind, uint32_t journal, uint64_t slot, uint64_t writer, uint32_t number,
                         char name[ST_OBJECT_NAME_MAX]);
/* False for what no st_object_file_name gave: nothing else may be opened, whatever a damaged entry says. */
bool st_object_file_name_valid(const char *name);

/* `temporary`: a path that no other thread or process uses. */
enum st_error st_object_file_put(const struct st_fs *fs, int directory, const char *name, const char *temporary,
                                 uint8_t *buffer, size_t len, uint32_t crc);
enum st_error st_object_file_delete(const struct st_fs *fs, int directory, const char *name);

/* Names of the regular entries of a directory in the order of their bytes, malloc'ed as one block with the pointers in
 * front; *count 0 and NULL when it is empty or not there. False: it cannot be read, or memory is out. */
bool st_directory_names(int directory, const char *path, char ***names, size_t *count);

#endif
