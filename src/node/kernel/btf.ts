/** Where members of the kernel's structures lie: BTF. Linux, Documentation/bpf/btf.rst, 2 "BTF Type and String Encoding". */

const MAGIC = 0xeb9f
const HEADER_BYTES = 24
/** Kernels have about 150,000 types. */
const MOST_TYPES = 1 << 21

const KIND_ARRAY = 3
const KIND_STRUCT = 4
const KIND_UNION = 5
/** Bytes after a type's 12, of each kind: fixed, and for each of `vlen`. */
const EXTRA: Readonly<Record<number, readonly [number, number]>> = {
  ...{
    1: [4, 0],
    2: [0, 0],
    [KIND_ARRAY]: [12, 0],
    [KIND_STRUCT]: [0, 12],
    [KIND_UNION]: [0, 12],
    6: [0, 8],
    7: [0, 0],
    8: [0, 0],
  },
  ...{
    9: [0, 0],
    10: [0, 0],
    11: [0, 0],
    12: [0, 0],
    13: [0, 8],
    14: [4, 0],
    15: [0, 12],
    16: [0, 0],
    17: [4, 0],
    18: [0, 0],
    19: [0, 12],
  },
}

export interface Btf {
  /** Bytes from the start of a structure to a member, which may lie in an unnamed union or structure of it; null when there is none. */
  offset(structure: string, member: string): number | null
}

/** Null when the bytes are no BTF. */
export function parseBtf(bytes: Uint8Array): Btf | null {
  if (bytes.length < HEADER_BYTES) return null
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const header = view.getUint32(4, true)
  if (view.getUint16(0, true) !== MAGIC || header < HEADER_BYTES) return null
  const [typeAt, typeBytes, textAt, textBytes] = [8, 12, 16, 20].map((at) => view.getUint32(at, true)) as [
    number,
    number,
    number,
    number,
  ]
  const types = header + typeAt
  const texts = header + textAt
  if (types + typeBytes > bytes.length || texts + textBytes > bytes.length) return null
  const places = placesOf(view, types, typeBytes)
  if (places === null) return null
  const decoder = new TextDecoder('latin1')
  const text = (offset: number): string => {
    if (offset >= textBytes) return ''
    const end = bytes.indexOf(0, texts + offset)
    return decoder.decode(bytes.subarray(texts + offset, end < 0 ? texts + textBytes : end))
  }
  // Each unnamed structure is looked into once: hostile ones lie in themselves.
  const memberOffset = (at: number, member: string, seen: Set<number>): number | null => {
    seen.add(at)
    const info = view.getUint32(at + 4, true)
    const bitfields = info >>> 31 === 1
    for (let index = 0; index < (info & 0xffff); index++) {
      const place = at + 12 + index * 12
      const raw = view.getUint32(place + 8, true)
      const byte = ((bitfields ? raw & 0xffffff : raw) - ((bitfields ? raw & 0xffffff : raw) % 8)) / 8
      const name = text(view.getUint32(place, true))
      if (name === member) return byte
      const inner = places[view.getUint32(place + 4, true)]
      if (name !== '' || inner === undefined || !isRecord(view, inner) || seen.has(inner)) continue
      const found = memberOffset(inner, member, seen)
      if (found !== null) return byte + found
    }
    return null
  }
  const structures = new Map<string, number[]>()
  for (const place of places) {
    if (place < 0 || !isRecord(view, place)) continue
    const name = text(view.getUint32(place, true))
    const same = structures.get(name)
    if (same === undefined) structures.set(name, [place])
    else same.push(place)
  }
  return {
    offset(structure, member) {
      for (const place of structures.get(structure) ?? []) {
        const found = memberOffset(place, member, new Set())
        if (found !== null) return found
      }
      return null
    },
  }
}

function isRecord(view: DataView, place: number): boolean {
  if (place < 0) return false
  const kind = (view.getUint32(place + 4, true) >>> 24) & 31
  return kind === KIND_STRUCT || kind === KIND_UNION
}

/** Where each type stands, by its number; number 0 is void. */
function placesOf(view: DataView, start: number, bytes: number): number[] | null {
  const places = [-1]
  const end = start + bytes
  for (let at = start; at < end; ) {
    if (at + 12 > end || places.length > MOST_TYPES) return null
    const info = view.getUint32(at + 4, true)
    const extra = EXTRA[(info >>> 24) & 31]
    if (extra === undefined) return null
    places.push(at)
    at += 12 + extra[0] + extra[1] * (info & 0xffff)
    if (at > end) return null
  }
  return places
}
