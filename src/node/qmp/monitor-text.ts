/** What QEMU's monitor prints for people, as data. Its forms have been the same from version 4 on; a line of another form is passed over. */

/** RAM of the guest's physical address space: where it lies, and where in its backing memory region. End exclusive. */
export interface RamPiece {
  readonly start: number
  readonly end: number
  readonly region: string
  readonly offset: number
}

const LIMIT = 2 ** 52
const number = (hex: string) => Number(BigInt(`0x${hex}`))

/** `info mtree -f`: the RAM of the address space `memory`, the one that CPUs and the IOMMU's own reads see. */
export function ramOfFlatView(text: string): RamPiece[] {
  const pieces: RamPiece[] = []
  let spaces: string[] = []
  let inRanges = false
  for (const line of text.split(/\r?\n/)) {
    if (/^FlatView #/.test(line)) {
      spaces = []
      inRanges = false
    }
    const space = /^ AS "([^"]*)"/.exec(line)
    if (space !== null) spaces.push(space[1]!)
    if (/^ Root memory region/.test(line)) inRanges = spaces.includes('memory')
    if (!inRanges) continue
    const range =
      /^ {2}([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, (ram|rom|romd|nv-ram)\): (.*?)(?: @([0-9a-f]{16}))?(?: KVM| \[.*\])*$/.exec(
        line,
      )
    if (range === null) continue
    const [, first = '', last = '', , region = '', offset = '0'] = range
    const start = number(first)
    const end = number(last) + 1
    if (end > start && end <= LIMIT) pieces.push({ start, end, region, offset: number(offset) })
  }
  return pieces
}

/** A device of `info qtree` with the addresses of its registers. */
export interface QtreeDevice {
  /** `intel-iommu`. */
  readonly type: string
  readonly mmio: readonly { readonly base: number; readonly bytes: number }[]
  /** Of a PCI device: `00:01.0`. */
  readonly address: string | null
  /** Properties, as printed. */
  readonly properties: ReadonlyMap<string, string>
}

/** `info qtree`: every device. */
export function devicesOfQtree(text: string): QtreeDevice[] {
  const devices: {
    type: string
    mmio: { base: number; bytes: number }[]
    address: string | null
    properties: Map<string, string>
  }[] = []
  for (const line of text.split(/\r?\n/)) {
    const device = /^\s*dev: ([^,]+), id/.exec(line)
    if (device !== null) {
      devices.push({ type: device[1]!, mmio: [], address: null, properties: new Map() })
      continue
    }
    const last = devices.at(-1)
    if (last === undefined) continue
    const mmio = /^\s*mmio ([0-9a-f]{16})\/([0-9a-f]{16})/.exec(line)
    if (mmio !== null && mmio[1] !== 'ffffffffffffffff') last.mmio.push({ base: number(mmio[1]!), bytes: number(mmio[2]!) })
    const address = /^\s*class .*, addr ([0-9a-f]{2}:[0-9a-f]{2}\.[0-7]), pci id/.exec(line)
    if (address !== null) last.address = address[1]!
    const property = /^\s*([\w.-]+) = (.*)$/.exec(line)
    if (property !== null) last.properties.set(property[1]!, property[2]!)
  }
  return devices
}

/** Values that `xp` printed, in the order of their addresses; null where it printed none (nothing answers there). */
export function valuesOfXp(text: string): bigint[] | null {
  const values: bigint[] = []
  for (const line of text.split(/\r?\n/)) {
    const row = /^\s*[0-9a-f]+: ((?:0x[0-9a-f]+\s*)+)$/i.exec(line)
    if (row !== null) for (const word of row[1]!.trim().split(/\s+/)) values.push(BigInt(word))
    else if (line.trim() !== '') return null
  }
  return values.length === 0 ? null : values
}
