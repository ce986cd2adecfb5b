/**
 * The kernel's table of symbols in its memory. Linux, scripts/kallsyms.c: names one after another, each a length (7 bits to a byte, the low
 * ones first) and so many token numbers; a token stands for a piece of text; the first letter of the text is the symbol's kind. Where the
 * parts lie is told in VMCOREINFO since Linux 6.0.
 */
import type { VmcoreInfo } from '../dump/vmcoreinfo.ts'
import type { KernelMemory } from './virtual.ts'

/** Kernels with everything built in have a few 100,000. */
const MOST_SYMBOLS = 1 << 22
const MOST_NAME_BYTES = 1 << 10
const MOST_BYTES = 64 << 20
/** KSYM_NAME_LEN is 512; a token is a part of a name. */
const MOST_LETTERS = 512
const CHUNK = 1 << 16
/** Tokens are short: the whole table is less than this. */
const TOKEN_TABLE_BYTES = 8192

/** Addresses of the symbols with these names; null when the tables are not there or do not fit each other. */
export function symbolsNamed(
  kernel: KernelMemory,
  info: VmcoreInfo,
  names: readonly string[],
): ReadonlyMap<string, bigint> | null {
  const place = (name: string) => info.symbol(`kallsyms_${name}`)
  const [namesAt, countAt, tokensAt, indexAt, offsetsAt, baseAt] = [
    ...[place('names'), place('num_syms'), place('token_table'), place('token_index'), place('offsets'), place('relative_base')],
  ]
  if (namesAt == null || countAt == null || tokensAt == null || indexAt == null || offsetsAt == null || baseAt == null)
    return null
  const count = kernel.u32(countAt)
  const base = kernel.u64(baseAt)
  const tokens = tokensOf(kernel, tokensAt, indexAt)
  if (count === null || base === null || tokens === null || count > MOST_SYMBOLS) return null
  // A name that VMCOREINFO knows too tells which way offsets count.
  const [knownName, known] = KNOWN.map((name) => [name, info.symbol(name)] as const).find(([, value]) => value !== null) ?? []
  if (knownName === undefined || known == null) return null
  const indices = indicesOf(kernel, namesAt, count, tokens, new Set([...names, knownName]))
  const offset = (name: string) => {
    const index = indices?.get(name)
    const value = index === undefined ? null : kernel.u32(offsetsAt + BigInt(index) * 4n)
    return value === null ? null : value | 0
  }
  const rule = RULES.find((one) => {
    const value = offset(knownName)
    return value !== null && one(base, value) === known
  })
  if (rule === undefined) return null
  const found = new Map<string, bigint>()
  for (const name of names) {
    const value = offset(name)
    if (value !== null) found.set(name, rule(base, value))
  }
  return found
}

const KNOWN = ['init_uts_ns', 'swapper_pg_dir', 'init_top_pgt', '_stext']

/** From an offset to an address: all relative (since 6.15), or per-CPU ones absolute and the others negative. */
const RULES: readonly ((base: bigint, offset: number) => bigint)[] = [
  (base, offset) => (offset >= 0 ? BigInt(offset) : base - 1n - BigInt(offset)),
  (base, offset) => base + BigInt(offset >>> 0),
]

function tokensOf(kernel: KernelMemory, tokensAt: bigint, indexAt: bigint): string[] | null {
  const index = kernel.bytes(indexAt, 512)
  const text = kernel.bytes(tokensAt, TOKEN_TABLE_BYTES)
  if (index === null || text === null) return null
  const view = new DataView(index.buffer)
  const decoder = new TextDecoder('latin1')
  const tokens = Array.from({ length: 256 }, (_, token) => {
    const from = view.getUint16(token * 2, true)
    const end = text.indexOf(0, from)
    return decoder.decode(text.subarray(from, end < 0 ? from : end))
  })
  return tokens.every((token) => token.length <= MOST_LETTERS) ? tokens : null
}

/** Numbers of the symbols with these names. */
function indicesOf(
  kernel: KernelMemory,
  start: bigint,
  count: number,
  tokens: readonly string[],
  wanted: ReadonlySet<string>,
): ReadonlyMap<string, number> | null {
  const found = new Map<string, number>()
  let chunk: Uint8Array = new Uint8Array(0)
  let chunkAt = start
  let at = 0
  for (let index = 0; index < count && found.size < wanted.size; index++) {
    if (at + MOST_NAME_BYTES > chunk.length) {
      chunkAt += BigInt(at)
      at = 0
      // The last names may be followed by nothing that is mapped.
      const next = kernel.bytes(chunkAt, CHUNK) ?? kernel.bytes(chunkAt, MOST_NAME_BYTES)
      if (next === null || chunkAt - start > BigInt(MOST_BYTES)) return null
      chunk = next
    }
    let length = chunk[at++]!
    if (length & 0x80) length = (length & 0x7f) | (chunk[at++]! << 7)
    if (length === 0 || length > MOST_NAME_BYTES - 2) return null
    let text = ''
    for (let token = 0; token < length && text.length <= MOST_LETTERS; token++) text += tokens[chunk[at + token]!]
    at += length
    const name = text.slice(1)
    if (wanted.has(name) && !found.has(name)) found.set(name, index)
  }
  return found
}
