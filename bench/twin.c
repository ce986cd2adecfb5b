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

static inline void store(uint64_t pa, uint64_t value) { memcpy(image + (pa - base), &value, 8); }

#define ADDRESS52 0x000ffffffffff000ull

/* x86-64, 4 levels, host address width 52: first stages of VT-d, guest tables of AMD. User code; sets A and D. */
static inline uint64_t walkx86(uint64_t root, uint64_t va, int write) {
  static const uint64_t reserved[] = {0, 0x1fe000, 0x3fffe000};
  uint64_t table = root, rights = 6;
  if ((uint64_t)((int64_t)(va << 16) >> 16) != va) return 0;
  for (int shift = 39, depth = 3;; shift -= 9, depth--) {
    uint64_t at = table + ((va >> shift) & 511) * 8, entry;
    if (!load(at, &entry) || !(entry & 1)) return 0;
    rights &= entry;
    int leaf = depth == 0 || (entry & 0x80);
    uint64_t wanted = entry | 0x20;
    if (leaf) {
      if (depth > 2 || (entry & reserved[depth])) return 0;
      if ((rights & (write ? 6 : 4)) != (write ? 6 : 4)) return 0;
      if (write) wanted |= 0x40;
    }
    if (wanted != entry) store(at, wanted);
    table = entry & ADDRESS52;
    if (leaf) {
      uint64_t mask = (1ull << shift) - 1;
      return (table & ~mask) | (va & mask);
    }
  }
}

/* Second stage of VT-d, 4 levels, host address width 52, leaves of 2 MiB and 1 GiB; no A and D. */
static inline uint64_t walkvtd(uint64_t root, uint64_t va, int write) {
  static const uint64_t reserved[] = {1ull << 62, 1ull << 62 | 0x1ff000, 1ull << 62 | 0x3ffff000};
  uint64_t table = root, rights = 3;
  if (va >> 48) return 0;
  for (int shift = 39, depth = 3;; shift -= 9, depth--) {
    uint64_t entry;
    if (!load(table + ((va >> shift) & 511) * 8, &entry) || !(entry & 3)) return 0;
    rights &= entry;
    table = entry & ADDRESS52;
    if (depth == 0 || (entry & 0x80)) {
      if (depth > 2 || (entry & reserved[depth]) || !(rights & (write ? 2 : 1))) return 0;
      uint64_t mask = (1ull << shift) - 1;
      return (table & ~mask) | (va & mask);
    }
    if (entry & (1ull << 62 | 0x800)) return 0;
  }
}

/* Host tables of AMD, mode 4, with all sizes and skipped levels; no A and D. */
static inline uint64_t walkamd(uint64_t root, uint64_t va, int write) {
  uint64_t table = root, rights = 3ull << 61;
  if (va >> 48) return 0;
  for (int level = 4;;) {
    int shift = 3 + 9 * level;
    uint64_t entry;
    if (!load(table + ((va >> shift) & 511) * 8, &entry) || !(entry & 1)) return 0;
    int next = entry >> 9 & 7;
    rights &= entry;
    table = entry & ADDRESS52;
    if (next == 0 || next == 7) {
      if (entry & 0x7full << 52 || !(rights & (write ? 2ull << 61 : 1ull << 61))) return 0;
      if (next == 7) {
        int bit = __builtin_ctzll(~table & ~0xfffull);
        if (bit < shift || bit >= shift + 8) return 0;
        shift = bit + 1;
      }
      uint64_t mask = (1ull << shift) - 1;
      return (table & ~mask) | (va & mask);
    }
    if (next >= level || entry & 0x1ffull << 52) return 0;
    if (next < level - 1 && (va & ((1ull << shift) - 1)) >> (12 + 9 * next)) return 0;
    level = next;
  }
}

static inline uint64_t walkvmsa(uint64_t root, uint64_t va, int write) { return walk1(root, va, write, 0, 0); }

/* A configuration cache (device, PASID → tag), and a translation cache (tag, page → frame, rights); 4 ways each. A miss walks. */
struct config {
  uint32_t device, pasid, tag, valid;
};
struct way {
  uint64_t page;
  uint64_t frame;
  uint32_t tag;
  uint32_t rights;
};
static struct config configs[64 * 4];
static struct way *sets;
static uint32_t set_mask;

static inline uint32_t mix(uint32_t first, uint32_t second) {
  uint32_t mixed = first * 0x9e3779b1u ^ second * 0x85ebca6bu;
  return mixed ^ mixed >> 15;
}

typedef uint64_t walker(uint64_t root, uint64_t va, int write);

static uint64_t hit(uint32_t device, uint32_t pasid, uint64_t va, uint32_t need, uint64_t root, walker *walk) {
  struct config *config = configs + (mix(device, pasid) & 63) * 4;
  int i = 0;
  while (config[i].device != device || config[i].pasid != pasid || !config[i].valid)
    if (++i == 4) return 0;
  uint32_t tag = config[i].tag;
  uint64_t page = va >> 12;
  struct way *way = sets + (size_t)(mix((uint32_t)page ^ (uint32_t)(page >> 32), tag) & set_mask) * 4;
  for (i = 0; i < 4; i++)
    if (way[i].page == page && way[i].tag == tag) return (way[i].rights & need) == need ? way[i].frame | (va & 4095) : 0;
  uint64_t out = walk(root, va, need >> 1);
  static uint32_t victim;
  way[victim++ & 3] = (struct way){page, out & ~4095ull, tag, 3};
  return out;
}

/* Every leaf, with what all levels allow, told to a visitor. */
struct leaf {
  uint64_t input, output, pa, entry;
  uint32_t log2, rights;
};
static uint64_t visited, visited_sum;
static void count_leaf(const struct leaf *at) {
  visited++;
  visited_sum += (uint32_t)(at->input ^ at->output);
}
static void (*volatile visitor)(const struct leaf *) = count_leaf;

static void enumerate(uint64_t table, uint32_t shift, uint64_t va, uint32_t limit) {
  for (uint32_t slot = 0; slot < 512; slot++) {
    uint64_t entry, at = va + ((uint64_t)slot << shift), pa = table + slot * 8;
    if (!load(pa, &entry)) return;
    if (!(entry & 1) || (shift == 12 && !(entry & 2))) continue;
    if (shift > 12 && (entry & 2)) {
      /* APTable, XNTable, PXNTable: 62:59 */
      uint32_t below = limit & ~((entry >> 62 & 1 ? 0x12 : 0) | (entry >> 61 & 1 ? 3 : 0) | (entry >> 60 & 1 ? 4 : 0) | (entry >> 59 & 1 ? 0x20 : 0));
      enumerate(entry & ADDRESS, shift - 9, at, below);
      continue;
    }
    /* AP[2:1], UXN, PXN: 7:6, 54, 53 */
    uint32_t rights = 8 | (entry & 0x80 ? 0 : 0x10);
    if (entry & 0x40) rights |= entry & 0x80 ? 1 : 3;
    if (!(entry >> 54 & 1)) rights |= 4;
    if (!(entry >> 53 & 1) && (entry & 0xc0) != 0x40) rights |= 0x20;
    struct leaf leaf = {at, entry & ADDRESS & ~((1ull << shift) - 1), pa, entry, shift, rights & limit};
    visitor(&leaf);
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

/* The work of `walk` and `hit`, for one format: walks are inlined. */
#define WORK(WALK) \
  static uint64_t all_##WALK(uint64_t root, int hits) { \
    uint64_t sum = 0; \
    if (hits) for (uint32_t i = 0; i < count; i++) sum += part(hit(5, 3, (uint64_t)sequence[i] << 12 | 0x123, 1 + (i & 1), root, WALK)); \
    else for (uint32_t i = 0; i < count; i++) sum += part(WALK(root, (uint64_t)sequence[i] << 12 | 0x123, i & 1)); \
    return sum; \
  }
WORK(walkvmsa)
WORK(walkx86)
WORK(walkvtd)
WORK(walkamd)

static const struct {
  const char *name;
  uint64_t (*all)(uint64_t root, int hits);
} works[] = {{"", all_walkvmsa}, {"-x86", all_walkx86}, {"-vtd", all_walkvtd}, {"-amd", all_walkamd}};

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
  uint32_t rounds = argc > 7 ? strtoul(argv[7], 0, 16) : 1;
  int hits = !strncmp(command, "hit", 3);
  uint64_t (*all)(uint64_t, int) = 0;
  if (hits || !strncmp(command, "walk", 4))
    for (size_t i = 0; i < sizeof works / sizeof *works; i++) if (!strcmp(command + (hits ? 3 : 4), works[i].name)) all = works[i].all;
  if (hits) {
    set_mask = 1023;
    sets = calloc(4 * (set_mask + 1), sizeof *sets);
    configs[(mix(5, 3) & 63) * 4 + 1] = (struct config){5, 3, 7, 1};
  }
  double best = 1e300;
  uint64_t sum = 0;
  for (uint32_t round = 0; round < rounds; round++) {
    uint64_t start = now();
    sum = 0;
    if (all) sum = all(root, hits);
    else if (!strcmp(command, "nested")) for (uint32_t i = 0; i < count; i++) sum += part(walk1(root, (uint64_t)sequence[i] << 12 | 0x123, i & 1, walk2, root2));
    else if (!strcmp(command, "enumerate")) { visited = visited_sum = 0; enumerate(root, 39, 0, 63); sum = visited_sum; }
    else return 2;
    double each = (double)(now() - start) / (strcmp(command, "enumerate") ? count : visited);
    if (each < best) best = each;
  }
  printf("{\"ns\": %.4f, \"sum\": \"%llx\"}\n", best, (unsigned long long)sum);
  return 0;
}
