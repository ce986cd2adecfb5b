/*
 * The C twin of the bare work that the benchmark measures: the same tables (read from an image of the same memory), the same
 * addresses in the same order, the same results (a checksum says so). Compiled by `cc -O2` at run time.
 *
 * usage: twin IMAGE BASE SEQUENCE COMMAND ARGUMENTS…   (numbers in hex; SEQUENCE: a file of little-endian 32-bit page numbers)
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint8_t *image;
static uint64_t base, image_size;
static uint32_t *sequence;
static uint32_t count;

/* What the checksum takes of an address: sums of it stay exact as a double. */
static inline uint64_t part(uint64_t address) { return (uint32_t)address + (address >> 32); }

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

static inline int load(uint64_t pa, uint64_t *value) {
  uint64_t offset = pa - base;
  if (offset >= image_size) return 0;
  memcpy(value, image + offset, 8);
  return 1;
}

#define ADDRESS 0x0000fffffffff000ull
#define NEED_AF (1ull << 10)

/* VMSAv8-64, 4 KiB: stage 1 (48 bits, 4 levels). Returns 0 on a fault. AP[2] refuses writes. */
static uint64_t walk1(uint64_t root, uint64_t va, int write, uint64_t (*through)(uint64_t, uint64_t, int), uint64_t root2) {
  uint64_t table = root;
  if (va >> 48) return 0;
  for (int shift = 39;; shift -= 9) {
    uint64_t at = table + ((va >> shift) & 511) * 8, entry;
    if (through && !(at = through(root2, at, 0))) return 0;
    if (!load(at, &entry) || !(entry & 1)) return 0;
    if (shift > 12 && (entry & 2)) {
      table = entry & ADDRESS;
      continue;
    }
    if (shift == 12 && !(entry & 2)) return 0;
    if (!(entry & NEED_AF) || (write && (entry & 0x80))) return 0;
    uint64_t mask = (1ull << shift) - 1;
    uint64_t out = (entry & ADDRESS & ~mask) | (va & mask);
    return through ? through(root2, out, write) : out;
  }
}

/* Stage 2: 39 bits, 3 levels. */
static uint64_t walk2(uint64_t root, uint64_t ipa, int write) {
  uint64_t table = root;
  if (ipa >> 39) return 0;
  for (int shift = 30;; shift -= 9) {
    uint64_t entry;
    if (!load(table + ((ipa >> shift) & 511) * 8, &entry) || !(entry & 1)) return 0;
    if (shift > 12 && (entry & 2)) {
      table = entry & ADDRESS;
      continue;
    }
    if (shift == 12 && !(entry & 2)) return 0;
    if (!(entry & NEED_AF) || !(entry & (write ? 0x80 : 0x40))) return 0;
    uint64_t mask = (1ull << shift) - 1;
    return (entry & ADDRESS & ~mask) | (ipa & mask);
  }
}

/* A translation cache of 4 ways: tag, page → frame, rights. */
struct way {
  uint64_t page;
  uint64_t frame;
  uint32_t tag;
  uint32_t rights;
};
static struct way *sets;
static uint32_t set_mask;

static inline uint32_t set_of(uint64_t page, uint32_t tag) {
  uint32_t hash = ((uint32_t)page ^ (uint32_t)(page >> 32) ^ tag * 0x9e3779b1u) * 0x85ebca6bu;
  return (hash >> 16) & set_mask;
}

static uint64_t hit(uint64_t va, uint32_t tag, uint32_t need) {
  uint64_t page = va >> 12;
  struct way *way = sets + (size_t)set_of(page, tag) * 4;
  for (int i = 0; i < 4; i++)
    if (way[i].page == page && way[i].tag == tag) return (way[i].rights & need) == need ? way[i].frame | (va & 4095) : 0;
  return 0;
}

static uint64_t visited, visited_sum;
static void enumerate(uint64_t table, int shift, uint64_t va) {
  for (int slot = 0; slot < 512; slot++) {
    uint64_t entry, at = va + ((uint64_t)slot << shift);
    if (!load(table + slot * 8, &entry)) return;
    if (!(entry & 1)) continue;
    if (shift > 12 && (entry & 2)) enumerate(entry & ADDRESS, shift - 9, at);
    else {
      visited++;
      visited_sum += (uint32_t)(at ^ (entry & ADDRESS));
    }
  }
}

static void *read_file(const char *name, size_t *size) {
  FILE *f = fopen(name, "rb");
  if (!f) { perror(name); exit(3); }
  fseek(f, 0, SEEK_END);
  *size = ftell(f);
  rewind(f);
  void *data = aligned_alloc(4096, (*size + 4095) & ~4095ull);
  if (fread(data, 1, *size, f) != *size) { perror(name); exit(3); }
  fclose(f);
  return data;
}

int main(int argc, char **argv) {
  if (argc < 6) return 2;
  size_t size;
  image = read_file(argv[1], &size);
  image_size = size;
  base = strtoull(argv[2], 0, 16);
  sequence = read_file(argv[3], &size);
  count = size / 4;
  const char *command = argv[4];
  uint64_t root = strtoull(argv[5], 0, 16);
  uint64_t root2 = argc > 6 ? strtoull(argv[6], 0, 16) : 0;
  uint32_t pages = argc > 7 ? strtoul(argv[7], 0, 16) : 0;
  uint32_t rounds = argc > 8 ? strtoul(argv[8], 0, 16) : 1;
  if (!strcmp(command, "hit")) {
    uint32_t total = 1024;
    set_mask = total - 1;
    sets = calloc(total * 4, sizeof *sets);
    for (uint32_t page = 0; page < pages; page++) {
      struct way *way = sets + (size_t)set_of(page, 1) * 4;
      int i = 0;
      while (i < 3 && way[i].tag) i++;
      way[i] = (struct way){page, walk1(root, (uint64_t)page << 12, 0, 0, 0), 1, 3};
    }
  }
  double best = 1e300;
  uint64_t sum = 0;
  for (uint32_t round = 0; round < rounds; round++) {
    uint64_t start = now();
    sum = 0;
    if (!strcmp(command, "walk")) for (uint32_t i = 0; i < count; i++) sum += part(walk1(root, (uint64_t)sequence[i] << 12 | 0x123, i & 1, 0, 0));
    else if (!strcmp(command, "nested")) for (uint32_t i = 0; i < count; i++) sum += part(walk1(root, (uint64_t)sequence[i] << 12 | 0x123, i & 1, walk2, root2));
    else if (!strcmp(command, "hit")) for (uint32_t i = 0; i < count; i++) sum += part(hit((uint64_t)sequence[i] << 12 | 0x123, 1, 1 + (i & 1)));
    else if (!strcmp(command, "enumerate")) { visited = visited_sum = 0; enumerate(root, 39, 0); sum = visited_sum; }
    else return 2;
    double each = (double)(now() - start) / (strcmp(command, "enumerate") ? count : visited);
    if (each < best) best = each;
  }
  printf("{\"ns\": %.4f, \"sum\": \"%llx\"}\n", best, (unsigned long long)sum);
  return 0;
}
