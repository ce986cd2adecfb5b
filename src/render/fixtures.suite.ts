/** Machines to draw in the tests of `render/`. */
import type { DescribedField } from '../base/layout.ts'
import { ALL_RIGHTS, PR, PW, UR, UW, UX } from '../base/types.ts'
import type {
  DeviceNode,
  EntryView,
  Finding,
  MachineGraph,
  PasidNode,
  PasidTableNode,
  RangeView,
  SpaceNode,
} from '../inspect/graph.ts'

export const WORDS = {
  deviceTable: 'Stream table',
  deviceEntry: 'STE',
  pasidTable: 'CD table',
  pasidEntry: 'CD',
  pasid: 'SubstreamID',
}

const field = (
  name: string,
  msb: number,
  lsb: number,
  value: number | bigint,
  means: string | null,
  doc: string,
): DescribedField => ({
  name,
  msb,
  lsb,
  value,
  means,
  doc,
})

export function ste(address: bigint, table: bigint | null): EntryView {
  return {
    structure: 'STE',
    address,
    words: table === null ? [1n, 0n] : [table | 0xbn, 2n],
    fields: [
      field('V', 0, 0, 1, null, 'entry is valid'),
      field('Config', 3, 1, table === null ? 0 : 5, table === null ? 'abort' : 's1', 'what is translated'),
      field('S1ContextPtr', 55, 6, table ?? 0n, null, 'CD table'),
      field('S1DSS', 65, 64, 2, 'ssid0', 'transactions without SubstreamID'),
    ],
  }
}

export function cd(address: bigint, root: bigint, asid: number): EntryView {
  return {
    structure: 'CD',
    address,
    words: [(BigInt(asid) << 48n) | 0x80003510n, root],
    fields: [
      field('T0SZ', 5, 0, 16, null, 'size of the region of TTB0'),
      field('V', 31, 31, 1, null, 'entry is valid'),
      field('ASID', 63, 48, asid, null, 'address space tag'),
      field('TTB0', 115, 68, root, null, 'top table'),
    ],
  }
}

export function range(start: bigint, bytes: bigint, output: bigint, rights = UR | UW | PR | PW): RangeView {
  return { start, end: start + bytes, output, rights, leaves: new Map([[12, Number(bytes / 4096n)]]) }
}

export function space(id: string, given: Partial<SpaceNode> & Pick<SpaceNode, 'role' | 'label'>): SpaceNode {
  const ranges = given.ranges ?? []
  const mappedBytes = ranges.reduce((sum, each) => sum + each.end - each.start, 0n)
  return {
    id,
    root: null,
    format: 'VMSAv8-64 stage 1, 4 KiB',
    inputBits: 48,
    levels: 4,
    stage: 1,
    tags: [],
    ranges,
    leafCount: Number(mappedBytes / 4096n),
    tableCount: 4,
    mappedBytes,
    complete: true,
    over: null,
    ...given,
  }
}

export function entry(pasid: number, to: SpaceNode | null, given: Partial<PasidNode> = {}): PasidNode {
  const view = cd(0x4001_0000n + BigInt(pasid) * 64n, to?.root ?? 0n, pasid + 1)
  return { pasid, state: 'valid', space: to?.id ?? null, note: null, entry: view, ...given }
}

export function table(
  id: string,
  address: bigint,
  entries: readonly PasidNode[],
  given: Partial<PasidTableNode> = {},
): PasidTableNode {
  return { id, address, layout: 'linear', capacity: 16, withoutPasid: 'entry 0', entries, label: null, ...given }
}

export function device(id: number, name: string, given: Partial<DeviceNode> = {}): DeviceNode {
  const base = { id, name, detail: null, domain: null, pasidTable: null, space: null, note: null, entry: null }
  return { ...base, state: given.pasidTable || given.space ? 'tables' : 'none', ...given }
}

export function machine(title: string, given: Partial<MachineGraph>): MachineGraph {
  return {
    title,
    iommu: 'Arm SMMUv3',
    words: WORDS,
    enabled: true,
    deviceTable: { address: 0x4000_0000n, layout: 'linear', entries: 16 },
    registers: [],
    devices: [],
    pasidTables: [],
    spaces: [],
    findings: [],
    rest: [],
    ...given,
  }
}

/** Devices 0 in A, 1 nowhere, 2 to 4 in B; process X in A, process Y in both, a private space in B. */
export function twoDomains(): MachineGraph {
  const a = space('a', {
    role: 'io_pgtable',
    label: 'domain A',
    root: 0x4010_0000n,
    tags: ['ASID 1'],
    ranges: [range(0x1000_0000n, 0x1_0000n, 0x8000_0000n), range(0x2000_0000n, 0x1000n, 0x8010_0000n)],
  })
  const b = space('b', {
    role: 'io_pgtable',
    label: 'domain B',
    root: 0x4020_0000n,
    tags: ['ASID 2'],
    ranges: [range(0x1000_0000n, 0x4000n, 0x9000_0000n)],
  })
  const x = space('x', {
    role: 'io_mm',
    label: 'mm X',
    root: 0x4030_0000n,
    tags: ['ASID 3'],
    ranges: [range(0x40_0000n, 0x3000n, 0xa000_0000n, UR | UX), range(0x7fff_f000_0000n, 0x2000n, 0xa100_0000n, UR | UW)],
  })
  const y = space('y', {
    role: 'io_mm',
    label: 'mm Y',
    root: 0x4040_0000n,
    tags: ['ASID 4'],
    ranges: [
      range(0x40_0000n, 0x2000n, 0xb000_0000n, UR | UX),
      range(0x60_0000n, 0x1000n, 0xb100_0000n, UR),
      range(0x7fff_f000_0000n, 0x4000n, 0xb200_0000n, UR | UW),
    ],
  })
  const own = space('p', {
    role: 'private',
    label: 'private',
    root: 0x4050_0000n,
    tags: ['ASID 5'],
    ranges: [range(0x1000n, 0x1000n, 0xc000_0000n)],
  })
  const tableA = table('ta', 0x4001_0000n, [entry(0, a), entry(1, x), entry(2, y)], { label: 'domain A' })
  const tableB = table('tb', 0x4002_0000n, [entry(0, b), entry(2, y), entry(3, own)], { label: 'domain B' })
  const at = (id: number, domain: 'A' | 'B' | null) => {
    const to = domain === 'A' ? tableA : domain === 'B' ? tableB : null
    return device(id, String(id), {
      domain,
      pasidTable: to?.id ?? null,
      entry: ste(0x4000_0000n + BigInt(id) * 64n, to?.address ?? null),
    })
  }
  return machine('two-domains.yaml', {
    devices: [at(0, 'A'), at(1, null), at(2, 'B'), at(3, 'B'), at(4, 'B')],
    pasidTables: [tableA, tableB],
    spaces: [a, b, x, y, own],
  })
}

/** As Linux leaves a small PCI machine: a table for each device, three of them with eight PASIDs bound. */
export function realMachine(): MachineGraph {
  const pci: [number, string, string][] = [
    [0x00, '0000:00:00.0', 'host bridge, 1b36:0008'],
    [0x10, '0000:00:02.0', 'nvme, 1b36:0010'],
    [0x18, '0000:00:03.0', 'virtio-pci, 1af4:1042'],
    [0x20, '0000:00:04.0', 'e1000e, 8086:10d3'],
    [0x28, '0000:00:05.0', 'virtio-pci, 1af4:1041'],
    [0x30, '0000:00:06.0', 'iommulab, 1b36:0005'],
    [0x38, '0000:00:07.0', 'iommulab, 1234:11e8'],
    [0x40, '0000:00:08.0', 'pcieport, 1b36:000c'],
    [0x48, '0000:00:09.0', 'pcieport, 1b36:000c'],
    [0x100, '0000:01:00.0', 'iommulab, 1b36:0005'],
    [0x200, '0000:02:00.0', 'iommulab, 1234:da5d'],
  ]
  const bound = new Set([0x30, 0x100, 0x200])
  const spaces: SpaceNode[] = []
  const tables: PasidTableNode[] = []
  let asid = 0
  const add = (label: string, role: SpaceNode['role'], ranges: readonly RangeView[]) => {
    asid++
    const made = space(`s${asid}`, { role, label, root: 0x44b7_9000n + BigInt(asid) * 0x19000n, tags: [`ASID ${asid}`], ranges })
    spaces.push(made)
    return made
  }
  const devices = pci.map(([id, name, detail], at) => {
    const some =
      at % 4 === 0
        ? []
        : Array.from({ length: at * 7 }, (_, index) => range(0xffff_0000n - BigInt(index) * 0x8000n, 0x3000n, 0x4800_0000n))
    const entries = [entry(0, add(`DMA domain of ${name}`, 'io_pgtable', some))]
    if (bound.has(id)) {
      for (const pasid of [1, 2, 5, 64, 65, 1000, 17185, 65535])
        entries.push(
          entry(
            pasid,
            add(`PASID ${pasid} of ${name}`, 'private', [
              range(0x1_0000n, 0x3_1000n, 0x5000_0000n),
              range(0x4000_0000n, 0x4000_0000n, 0x8000_0000n, ALL_RIGHTS),
            ]),
          ),
        )
    }
    const made = table(
      `t${id}`,
      0x4496_2000n + BigInt(at) * 0x2000n,
      entries,
      bound.has(id) ? { layout: '2 levels, 64 KiB leaves', capacity: 65536 } : { capacity: 1 },
    )
    tables.push(made)
    return device(id, name, { detail, pasidTable: made.id, entry: ste(0x4400_0000n + BigInt(id) * 64n, made.address) })
  })
  return machine('arm64-smmuv3-pasid', {
    deviceTable: { address: 0x4400_0000n, layout: '2 levels', entries: 65536 },
    devices,
    pasidTables: tables,
    spaces,
    rest: ['757 entries: abort'],
  })
}

/** Devices that stage 2 translates, without any PASID table; two of them share one. */
export function stage2Only(): MachineGraph {
  const vm = (id: string, label: string, root: bigint) =>
    space(id, {
      role: 'io_pgtable',
      label,
      stage: 2,
      root,
      format: 'VMSAv8-64 stage 2, 4 KiB',
      tags: [`VMID ${id}`],
      ranges: [range(0x8000_0000n, 0x4000_0000n, 0x1_0000_0000n)],
    })
  const one = vm('1', 'VM one', 0x4010_0000n)
  const two = vm('2', 'VM two', 0x4020_0000n)
  return machine('arm64-smmuv3-s2', {
    devices: [
      device(0x10, '0000:00:02.0', { space: '1', detail: 'nvme, 1b36:0010' }),
      device(0x18, '0000:00:03.0', { space: '2' }),
      device(0x20, '0000:00:04.0', { space: '1' }),
    ],
    spaces: [one, two],
  })
}

/** A guest's stage 1 over a stage 2 that a device also has to itself. */
export function nested(): MachineGraph {
  const vm = space('vm', {
    role: 'io_pgtable',
    label: 'VM one',
    stage: 2,
    root: 0x4010_0000n,
    tags: ['VMID 1'],
    ranges: [range(0x8000_0000n, 0x4000_0000n, 0x1_0000_0000n)],
  })
  const guest = space('g0', {
    role: 'io_pgtable',
    label: 'guest domain',
    root: 0x8010_0000n,
    over: 'vm',
    tags: ['ASID 1'],
    ranges: [range(0x1000n, 0x1000n, 0x8800_0000n)],
  })
  const process = space('g1', {
    role: 'io_mm',
    label: 'guest mm',
    root: 0x8020_0000n,
    over: 'vm',
    tags: ['ASID 2'],
    ranges: [range(0x40_0000n, 0x2000n, 0x8900_0000n)],
  })
  const own = table('t', 0x8001_0000n, [entry(0, guest), entry(5, process)], { label: 'guest' })
  return machine('nested.yaml', {
    devices: [device(0, 'nic', { pasidTable: 't', domain: 'nested' }), device(1, 'disk', { space: 'vm', domain: 'VM one' })],
    pasidTables: [own],
    spaces: [vm, guest, process],
  })
}

/** Devices without tables, an entry that walks nothing and one that the hardware refuses. */
export function withoutTables(): MachineGraph {
  const mm = space('m', { role: 'io_mm', label: 'mm gone', root: 0x4030_0000n, tags: ['ASID 9'] })
  const finding: Finding = {
    severity: 'error',
    place: 'CD 3 of CD table at 0x40010000',
    text: 'T0SZ 63 is out of range (C_BAD_CD, 5.4.1)',
  }
  const own = table(
    't',
    0x4001_0000n,
    [
      entry(1, mm, { state: 'quiet', note: 'the process has exited' }),
      entry(3, null, { state: 'bad', note: 'T0SZ 63 is out of range' }),
    ],
    { label: 'domain C', withoutPasid: 'abort' },
  )
  return machine('states', {
    devices: [
      device(0x8, 'pass', { state: 'bypass' }),
      device(0x9, 'stop', { state: 'abort' }),
      device(0xa, 'wrong', { state: 'bad', note: 'Config 0b011 is reserved (C_BAD_STE, 5.2)' }),
      device(0xb, 'gpu', { pasidTable: 't', domain: 'C' }),
    ],
    pasidTables: [own],
    spaces: [mm],
    findings: [finding],
  })
}

export function empty(): MachineGraph {
  return machine('nothing', { enabled: false, deviceTable: null, rest: ['65,536 entries: not valid'] })
}

/** 1,000 devices, each with a table of ten entries: 10,000 spaces, the first of which all devices share. */
export function huge(): MachineGraph {
  const spaces = Array.from({ length: 10_000 }, (_, index) =>
    space(`s${index}`, {
      role: index % 10 === 0 ? 'io_pgtable' : 'io_mm',
      label: index % 10 === 0 ? `domain ${index / 10}` : `mm ${index}`,
      root: 0x1_0000_0000n + BigInt(index) * 0x1000n,
      tags: [`ASID ${index}`],
      ranges: [range(0x1000n, 0x2000n, 0x9000_0000n)],
    }),
  )
  const tables = Array.from({ length: 1000 }, (_, index) =>
    table(
      `t${index}`,
      0x4000_0000n + BigInt(index) * 0x1_0000n,
      Array.from({ length: 10 }, (_, at) => entry(at, spaces[at === 1 ? 1 : index * 10 + at]!)),
      { label: `domain ${index}` },
    ),
  )
  const devices = tables.map((each, index) =>
    device(index, `device-${index}`, { pasidTable: each.id, domain: String(index), entry: ste(0x4000_0000n, each.address) }),
  )
  return machine('huge', { devices, pasidTables: tables, spaces })
}

/** Eight devices in turn in four domains that all are bound to the same processes: lines everywhere. */
export function tangled(processes = 5): MachineGraph {
  const mms = Array.from({ length: processes }, (_, index) =>
    space(`m${index}`, {
      role: 'io_mm',
      label: `mm ${index}`,
      root: 0x5000_0000n + BigInt(index) * 0x1000n,
      tags: [`ASID ${index + 10}`],
    }),
  )
  const owns = Array.from({ length: 4 }, (_, index) =>
    space(`d${index}`, {
      role: 'io_pgtable',
      label: `domain ${index}`,
      root: 0x4100_0000n + BigInt(index) * 0x1000n,
      tags: [`ASID ${index}`],
    }),
  )
  const tables = owns.map((own, index) =>
    table(`t${index}`, 0x4001_0000n + BigInt(index) * 0x1000n, [entry(0, own), ...mms.map((mm, at) => entry(at + 1, mm))], {
      label: `domain ${index}`,
    }),
  )
  return machine('tangled', {
    devices: Array.from({ length: 8 }, (_, index) =>
      device(index, `dev${index}`, { pasidTable: `t${index % 4}`, domain: String(index % 4) }),
    ),
    pasidTables: tables,
    spaces: [...owns, ...mms],
  })
}

/** Names as an attacker would choose them. */
export function hostile(): MachineGraph {
  const evil = '\u001b[2J\u001b]0;owned\u0007a<b>&"c\'\u0000\u202egnp.exe\u200b\ud800\n]]>'
  const long = 'x'.repeat(100_000)
  const cjk = '設備名前テスト'
  const mm = space('m', { role: 'io_mm', label: evil, root: 0x1000n, tags: [evil], format: evil })
  const own = table('t', 0x4001_0000n, [entry(0, mm, { note: evil })], { label: evil, layout: evil, withoutPasid: evil })
  return machine(evil, {
    iommu: evil,
    words: { deviceTable: evil, deviceEntry: evil, pasidTable: evil, pasidEntry: evil, pasid: evil },
    deviceTable: { address: 0n, layout: evil, entries: 1 },
    devices: [
      device(0, evil, { detail: evil, domain: evil, pasidTable: 't' }),
      device(1, long, { state: 'bad', note: long, domain: long }),
      device(2, cjk, { state: 'bypass' }),
    ],
    pasidTables: [own],
    spaces: [mm],
    findings: [{ severity: 'error', place: evil, text: evil }],
    rest: [evil, long],
    registers: [{ name: evil, offset: 0, value: 0n, fields: [] }],
  })
}
