/* elf(5); the layout of DT_GNU_HASH is that of glibc's do_lookup_x (elf/dl-lookup.c). */
#include "elf_memory.h"

#include <elf.h>
#include <stdbool.h>
#include <string.h>

enum { PAGE = 4096 };

static void read_dynamic(struct elf_memory *elf, uint64_t address, uint64_t size)
{
    for (uint64_t at = address; at + sizeof(Elf64_Dyn) <= address + size; at += sizeof(Elf64_Dyn)) {
        Elf64_Dyn entry;
        if (page_cache_read(elf->cache, at, &entry, sizeof entry) || entry.d_tag == DT_NULL)
            return;
        /* glibc adds the bias to these in place; other loaders, and the vdso, do not. */
        uint64_t value = entry.d_un.d_ptr;
        if (value < elf->base)
            value += elf->bias;
        if (entry.d_tag == DT_SYMTAB)
            elf->symbols = value;
        else if (entry.d_tag == DT_STRTAB)
            elf->strings = value;
        else if (entry.d_tag == DT_GNU_HASH)
            elf->gnu_hash = value;
    }
}

int elf_memory_open(struct elf_memory *elf, struct page_cache *cache, uint64_t base)
{
    Elf64_Ehdr header;
    Elf64_Phdr dynamic = {0}, unwind = {0};
    bool loaded = false;

    *elf = (struct elf_memory){.cache = cache, .base = base};
    if (page_cache_read(cache, base, &header, sizeof header) ||
        memcmp(header.e_ident, ELFMAG, SELFMAG) || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_phentsize != sizeof(Elf64_Phdr))
        return -1;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        if (page_cache_read(cache, base + header.e_phoff + i * sizeof segment, &segment,
                            sizeof segment))
            return -1;
        if (segment.p_type == PT_LOAD && !loaded) {
            elf->bias = base - segment.p_vaddr / PAGE * PAGE;
            loaded = true;
        } else if (segment.p_type == PT_DYNAMIC) {
            dynamic = segment;
        } else if (segment.p_type == PT_GNU_EH_FRAME) {
            unwind = segment;
        }
    }
    if (!loaded)
        return -1;
    if (unwind.p_type)
        elf->unwind_header = elf->bias + unwind.p_vaddr;
    if (dynamic.p_type)
        read_dynamic(elf, elf->bias + dynamic.p_vaddr, dynamic.p_memsz);
    return 0;
}

static uint32_t gnu_hash(const char *name)
{
    uint32_t hash = 5381;
    while (*name)
        hash = hash * 33 + (unsigned char)*name++;
    return hash;
}

/* The address of symbol `index` if it is defined here and has this name, or 0. */
static uint64_t symbol_address(struct elf_memory *elf, uint32_t index, const char *name)
{
    char found[128];
    Elf64_Sym symbol;
    if (page_cache_read(elf->cache, elf->symbols + index * sizeof symbol, &symbol, sizeof symbol) ||
        symbol.st_shndx == SHN_UNDEF ||
        page_cache_read_string(elf->cache, elf->strings + symbol.st_name, found, sizeof found) ||
        strcmp(found, name))
        return 0;
    return elf->bias + symbol.st_value;
}

size_t elf_memory_exports(struct elf_memory *elf, const char *name, uint64_t *addresses, size_t max)
{
    struct {
        uint32_t n_buckets, first_symbol, bloom_size, bloom_shift;
    } table;
    if (!elf->gnu_hash || !elf->symbols || !elf->strings ||
        page_cache_read(elf->cache, elf->gnu_hash, &table, sizeof table) || !table.n_buckets)
        return 0;
    uint32_t hash = gnu_hash(name), index, chained;
    uint64_t buckets = elf->gnu_hash + sizeof table + table.bloom_size * sizeof(uint64_t);
    uint64_t chains = buckets + table.n_buckets * sizeof(uint32_t);
    if (page_cache_read(elf->cache, buckets + hash % table.n_buckets * sizeof index, &index,
                        sizeof index) ||
        index < table.first_symbol)
        return 0;
    size_t n = 0;
    do {
        uint64_t at = chains + (uint64_t)(index - table.first_symbol) * sizeof chained;
        if (page_cache_read(elf->cache, at, &chained, sizeof chained))
            break;
        uint64_t address = (chained | 1) == (hash | 1) ? symbol_address(elf, index, name) : 0;
        if (address && n < max)
            addresses[n++] = address;
        index++;
    } while (!(chained & 1)); /* the last of a chain has bit 0 set */
    return n;
}
