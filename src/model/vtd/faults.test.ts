/** Every fault reason: how it comes about, what is recorded, whether FPD keeps it from being recorded. Intel VT-d, 7.1.3 and 5.1.4.1. */
import { describe, expect, it } from 'vitest'
import type { WordMemory } from '../../base/memory.ts'
import { PR, type Transaction } from '../../base/types.ts'
import * as fr from '../../format/vtd/faults.ts'
import { FAULT_REASONS, faultReason } from '../../format/vtd/faults.ts'
import { PASID_DIR_ENTRY } from '../../format/vtd/pasid.ts'
import { GS_RTP, REG } from '../../format/vtd/registers.ts'
import { ROOT_ENTRY, SM_ROOT_ENTRY } from '../../format/vtd/root.ts'
import type { PageRequestMessage } from '../iommu.ts'
import { NOT_RAISED } from './not-raised.ts'
import { type ContextValues, DEVICE, HOLE, type PasidValues, Rig, type RigOptions, RW } from './rig.suite.ts'

const PAGE = 0x10_0000
const OUT = 0x5000_0000

/** How a reason comes about: a rig, and a request of device 0x30 that then fails. */
interface Case {
  readonly code: number
  readonly options?: RigOptions
  /** @param fpd FPD of every entry that is made. */
  readonly prepare: (rig: Rig, fpd: 0 | 1) => void
  readonly request?: Partial<Transaction>
  readonly page?: Partial<PageRequestMessage>
  readonly interrupt?: { readonly address: bigint; readonly data?: number }
}

const LEGACY: RigOptions = { mode: 'legacy' }
const legacy = (values: (rig: Rig) => ContextValues) => (rig: Rig, FPD: 0 | 1) => {
  rig.context(DEVICE, { FPD, ...values(rig) })
}
/** A device with one PASID table entry, for requests without PASID. */
const plain = (values: (rig: Rig) => PasidValues) => (rig: Rig, FPD: 0 | 1) => {
  rig.plain(DEVICE, { FPD, ...values(rig) })
}
/** As `plain`, for PASID 1. */
const shared = (values: (rig: Rig) => PasidValues) => (rig: Rig, FPD: 0 | 1) => {
  rig.pasid(rig.smContext(DEVICE), 1, { FPD, ...values(rig) })
}
const first = (rig: Rig, map: (table: ReturnType<Rig['first']>['table']) => void = () => {}): PasidValues => {
  const { table, pasid } = rig.first()
  map(table)
  return pasid
}
/** A first stage with an entry that is changed afterwards. */
const broken = (rig: Rig, change: (entry: bigint) => bigint, at: 'root' | 'leaf' = 'leaf'): PasidValues => {
  const { table, pasid, root } = rig.first()
  table.map(PAGE, OUT, 0x1000, RW)
  const pa = at === 'root' ? root : table.leaf(PAGE)!.pa
  rig.memory.write64(pa, change(rig.memory.read64(pa)))
  return pasid
}
const brokenSecond = (rig: Rig, change: (entry: bigint) => bigint, at: 'root' | 'leaf' = 'leaf') => {
  const second = rig.second()
  second.table.map(PAGE, OUT, 0x1000, RW)
  const pa = at === 'root' ? second.root : second.table.leaf(PAGE)!.pa
  rig.memory.write64(pa, change(rig.memory.read64(pa)))
  return second
}
const toHole = (entry: bigint) => (entry & 0xfffn) | BigInt(HOLE)
/** A nested space whose second stage treats the page at `pa` otherwise. */
const nestedBut = (rig: Rig, pa: (nested: ReturnType<Rig['nested']>) => number, rights: number | null): PasidValues => {
  const nested = rig.nested()
  nested.inner.table.map(PAGE, OUT, 0x1000, RW)
  const page = pa(nested) & ~0xfff
  nested.outer.table.unmap(page, 0x1000)
  if (rights !== null) nested.outer.table.map(page, page, 0x1000, rights)
  return nested.pasid
}
const UNSNOOPED = { PWSNP: 0 }

const CASES: readonly Case[] = [
  { code: fr.FR_ROOT_NOT_PRESENT, options: LEGACY, prepare: () => {} },
  {
    code: fr.FR_ROOT_ACCESS,
    options: LEGACY,
    prepare: (rig) => {
      rig.set8(REG.RTADDR, BigInt(HOLE))
      rig.command(GS_RTP)
    },
  },
  { code: fr.FR_ROOT_RESERVED, options: LEGACY, prepare: (rig) => void rig.memory.write64(rig.root, 3n) },
  { code: fr.FR_CONTEXT_NOT_PRESENT, options: LEGACY, prepare: legacy(() => ({ P: 0 })) },
  {
    code: fr.FR_CONTEXT_ACCESS,
    options: LEGACY,
    prepare: (rig) => void rig.put(rig.root, ROOT_ENTRY, { P: 1, CTP: BigInt(HOLE) }),
  },
  {
    code: fr.FR_CONTEXT_RESERVED,
    options: LEGACY,
    prepare: (rig, FPD) => {
      const at = rig.context(DEVICE, { FPD })
      rig.memory.write64(at, rig.memory.read64(at) | 0x10n)
    },
  },
  { code: fr.FR_CONTEXT_INVALID, options: LEGACY, prepare: legacy((rig) => ({ ...rig.second().legacy, AW: 0 })) },
  { code: fr.FR_CONTEXT_INVALID, options: LEGACY, prepare: legacy(() => ({ TT: 3 })) },
  { code: fr.FR_CONTEXT_INVALID, options: { mode: 'legacy', ecap: { PT: 0 } }, prepare: legacy(() => ({ TT: 2 })) },
  { code: fr.FR_CONTEXT_INVALID, options: LEGACY, prepare: legacy(() => ({ SSPTPTR: BigInt(HOLE) })) },
  {
    code: fr.FR_TRANSLATION_BLOCKED,
    options: LEGACY,
    prepare: legacy((rig) => rig.second().legacy),
    request: { kind: 'ats-request' },
  },
  { code: fr.FR_TRANSLATION_BLOCKED, options: LEGACY, prepare: legacy(() => ({ TT: 2 })), request: { kind: 'translated' } },
  { code: fr.FR_ADDRESS_TOO_WIDE, options: LEGACY, prepare: legacy((rig) => rig.second().legacy), request: { iova: 1n << 48n } },
  {
    code: fr.FR_ADDRESS_TOO_WIDE,
    options: { mode: 'legacy', cap: { MGAW: 39 } },
    prepare: legacy((rig) => rig.second().legacy),
    request: { iova: 1n << 40n },
  },
  {
    code: fr.FR_ADDRESS_TOO_WIDE,
    options: { mode: 'legacy', hostAddressBits: 40 },
    prepare: legacy(() => ({ TT: 2 })),
    request: { iova: 1n << 40n },
  },
  {
    code: fr.FR_ADDRESS_TOO_WIDE,
    options: { mode: 'legacy', hostAddressBits: 40 },
    prepare: legacy((rig) => ({ ...rig.second().legacy, TT: 1 })),
    request: { iova: 1n << 40n, kind: 'translated' },
  },
  { code: fr.FR_NO_WRITE, options: LEGACY, prepare: legacy((rig) => rig.second().legacy), request: { access: 'write' } },
  { code: fr.FR_NO_READ, options: LEGACY, prepare: legacy((rig) => rig.second().legacy) },
  { code: fr.FR_PAGE_TABLE_ACCESS, options: LEGACY, prepare: legacy((rig) => brokenSecond(rig, toHole, 'root').legacy) },
  {
    code: fr.FR_PAGE_TABLE_RESERVED,
    options: LEGACY,
    prepare: legacy((rig) => brokenSecond(rig, (entry) => entry | 0x800n, 'root').legacy),
  },
  {
    code: fr.FR_INTERRUPT_RANGE,
    options: LEGACY,
    prepare: legacy((rig) => brokenSecond(rig, (entry) => (entry & 0xfffn) | 0xfee0_0000n).legacy),
  },
  // RTADDR
  {
    code: fr.FR_RTADDR_INVALID,
    prepare: (rig) => {
      rig.set8(REG.RTADDR, BigInt(rig.root) | 0x800n)
      rig.command(GS_RTP)
    },
  },
  { code: fr.FR_RTADDR_INVALID, options: { ecap: { SMTS: 0 }, queue: false }, prepare: () => {} },
  {
    code: fr.FR_ABORT_DMA,
    prepare: (rig) => {
      rig.set8(REG.RTADDR, BigInt(rig.root) | 0xc00n)
      rig.command(GS_RTP)
    },
  },
  { code: fr.FR_LEGACY_PASID, options: LEGACY, prepare: () => {}, request: { pasid: 1 } },
  { code: fr.FR_LEGACY_PAGE_REQUEST, options: LEGACY, prepare: () => {}, page: {} },
  // Scalable root and context entries
  {
    code: fr.FR_SM_ROOT_ACCESS,
    prepare: (rig) => {
      rig.set8(REG.RTADDR, BigInt(HOLE) | 0x400n)
      rig.command(GS_RTP)
    },
  },
  { code: fr.FR_SM_ROOT_NOT_PRESENT, prepare: () => {} },
  { code: fr.FR_SM_ROOT_RESERVED, prepare: (rig) => void rig.memory.write64(rig.root, 3n) },
  { code: fr.FR_SM_CONTEXT_ACCESS, prepare: (rig) => void rig.put(rig.root, SM_ROOT_ENTRY, { LP: 1, LCTP: BigInt(HOLE) }) },
  { code: fr.FR_SM_CONTEXT_NOT_PRESENT, prepare: (rig, FPD) => void rig.smContext(DEVICE, { P: 0, FPD }) },
  {
    code: fr.FR_SM_CONTEXT_RESERVED,
    prepare: (rig, FPD) => {
      rig.smContext(DEVICE, { FPD })
      const at = rig.contextAt(DEVICE)
      rig.memory.write64(at + 24, 1n)
    },
  },
  { code: fr.FR_SM_CONTEXT_INVALID, prepare: (rig, FPD) => void rig.smContext(DEVICE, { FPD, RID_PASID: 0x2000 }) },
  { code: fr.FR_SM_CONTEXT_INVALID, prepare: (rig, FPD) => void rig.smContext(DEVICE, { FPD, DTE: 0 }) },
  {
    code: fr.FR_SM_NO_DTE,
    prepare: (rig, FPD) => void rig.smContext(DEVICE, { FPD, DTE: 0, PRE: 0 }),
    request: { kind: 'translated' },
  },
  {
    code: fr.FR_SM_NO_DTE,
    prepare: (rig, FPD) => void rig.smContext(DEVICE, { FPD, DTE: 0, PRE: 0 }),
    request: { kind: 'ats-request', pasid: 1 },
  },
  { code: fr.FR_SM_NO_PASIDE, prepare: (rig, FPD) => void rig.smContext(DEVICE, { FPD, PASIDE: 0 }), request: { pasid: 1 } },
  { code: fr.FR_SM_PASID_TOO_LARGE, prepare: (rig, FPD) => void rig.smContext(DEVICE, { FPD }), request: { pasid: 0x2000 } },
  { code: fr.FR_SM_NO_PRE, prepare: (rig, FPD) => void rig.smContext(DEVICE, { FPD, PRE: 0 }), page: {} },
  { code: fr.FR_SM_RID_PASID, prepare: (rig, FPD) => void rig.smContext(DEVICE, { FPD }), request: { pasid: 0 } },
  {
    code: fr.FR_SM_PASID_UNSUPPORTED,
    options: { ecap: { PSS: 7 } },
    prepare: (rig, FPD) => void rig.smContext(DEVICE, { FPD }),
    request: { pasid: 256 },
  },
  // PASID directory and table
  { code: fr.FR_PASID_DIR_ACCESS, prepare: (rig) => void rig.smContext(DEVICE, { PASIDDIRPTR: BigInt(HOLE) }) },
  { code: fr.FR_PASID_DIR_NOT_PRESENT, prepare: (rig, FPD) => void rig.put(rig.smContext(DEVICE), PASID_DIR_ENTRY, { FPD }) },
  { code: fr.FR_PASID_DIR_RESERVED, prepare: (rig, FPD) => void rig.memory.write64(rig.smContext(DEVICE, { FPD }), 5n) },
  {
    code: fr.FR_PASID_ACCESS,
    prepare: (rig) => void rig.put(rig.smContext(DEVICE), PASID_DIR_ENTRY, { P: 1, SMPTBLPTR: BigInt(HOLE) }),
  },
  { code: fr.FR_PASID_NOT_PRESENT, prepare: plain(() => ({ P: 0 })) },
  {
    code: fr.FR_PASID_RESERVED,
    prepare: (rig, FPD) => {
      const { entry } = rig.plain(DEVICE, { FPD, ...first(rig) })
      rig.memory.write64(entry + 56, 1n)
    },
  },
  { code: fr.FR_PASID_INVALID, prepare: plain(() => ({ PGTT: 0 })) },
  { code: fr.FR_PASID_INVALID, prepare: plain((rig) => ({ ...rig.second().pasid, AW: 0 })) },
  { code: fr.FR_PASID_INVALID, prepare: plain((rig) => ({ ...first(rig), FSPM: 2 })) },
  { code: fr.FR_PASID_INVALID, options: { cap: { FS5LP: 0 } }, prepare: plain((rig) => ({ ...first(rig), FSPM: 1 })) },
  { code: fr.FR_PASID_INVALID, options: { ecap: { NEST: 0 } }, prepare: plain((rig) => rig.nested().pasid) },
  { code: fr.FR_PASID_INVALID, prepare: plain((rig) => ({ ...rig.nested().pasid, FSPTPTR: 1n << 48n })) },
  { code: fr.FR_NO_ERE, prepare: shared((rig) => first(rig)), request: { pasid: 1, access: 'execute' } },
  {
    code: fr.FR_NO_ERE,
    options: { ecap: { ERS: 1 } },
    prepare: shared((rig) => first(rig)),
    request: { pasid: 1, access: 'execute' },
  },
  { code: fr.FR_NO_SRE, prepare: shared((rig) => first(rig)), request: { pasid: 1, privileged: true } },
  {
    code: fr.FR_NO_SRE,
    options: { ecap: { SRS: 0 } },
    prepare: shared((rig) => first(rig)),
    request: { pasid: 1, privileged: true },
  },
  // First stage
  { code: fr.FR_FS_ROOT_ACCESS, prepare: plain(() => ({ PGTT: 1, FSPTPTR: BigInt(HOLE) })) },
  { code: fr.FR_FS_ACCESS, prepare: plain((rig) => broken(rig, toHole, 'root')) },
  { code: fr.FR_FS_NOT_PRESENT, prepare: plain((rig) => first(rig)) },
  { code: fr.FR_FS_RESERVED, prepare: plain((rig) => broken(rig, (entry) => entry | 0x80n, 'root')) },
  { code: fr.FR_NON_CANONICAL, prepare: plain((rig) => first(rig)), request: { iova: 1n << 47n } },
  { code: fr.FR_SUPERVISOR_PAGE, prepare: plain((rig) => first(rig, (table) => table.map(PAGE, OUT, 0x1000, PR))) },
  {
    code: fr.FR_NO_EXECUTE,
    options: { ecap: { ERS: 1 } },
    prepare: shared((rig) => ({ ...broken(rig, (entry) => entry | (1n << 63n)), ERE: 1, NXE: 1 })),
    request: { pasid: 1, access: 'execute' },
  },
  { code: fr.FR_SM_NO_WRITE, prepare: plain((rig) => broken(rig, (entry) => entry & ~2n)), request: { access: 'write' } },
  { code: fr.FR_SM_NO_READ, prepare: plain((rig) => brokenSecond(rig, (entry) => entry & ~1n).pasid) },
  { code: fr.FR_FS_AD_NO_SNOOP, prepare: plain((rig) => ({ ...broken(rig, (entry) => entry & ~0x60n), ...UNSNOOPED })) },
  {
    code: fr.FR_FS_AD_NO_SNOOP,
    prepare: plain((rig) => ({ ...broken(rig, (entry) => entry & ~0x40n), ...UNSNOOPED })),
    request: { access: 'write' },
  },
  // Nested
  {
    code: fr.FR_FS_NESTED_WIDE,
    prepare: plain((rig) => {
      const { inner, pasid } = rig.nested()
      inner.table.map(PAGE, OUT, 0x1000, RW)
      rig.memory.write64(inner.root, rig.memory.read64(inner.root) | (1n << 48n))
      return pasid
    }),
  },
  {
    code: fr.FR_FS_NESTED_WIDE,
    prepare: plain((rig) => {
      const { inner, pasid } = rig.nested()
      inner.table.map(PAGE, OUT, 0x1000, RW)
      const { pa } = inner.table.leaf(PAGE)!
      rig.memory.write64(pa, rig.memory.read64(pa) | (1n << 48n))
      return pasid
    }),
  },
  { code: fr.FR_FS_NESTED_ROOT_READ, prepare: plain((rig) => nestedBut(rig, ({ inner }) => inner.root, 2 | 16)) },
  { code: fr.FR_FS_NESTED_READ, prepare: plain((rig) => nestedBut(rig, ({ inner }) => inner.table.leaf(PAGE)!.pa, 2 | 16)) },
  {
    code: fr.FR_FS_NESTED_WRITE,
    prepare: plain((rig) =>
      nestedBut(
        rig,
        ({ inner }) => {
          const { pa } = inner.table.leaf(PAGE)!
          rig.memory.write64(pa, rig.memory.read64(pa) & ~0x60n)
          return pa
        },
        1 | 8,
      ),
    ),
  },
  {
    code: fr.FR_FS_NESTED_WRITE,
    prepare: plain((rig) => ({ ...nestedBut(rig, ({ inner }) => inner.table.leaf(PAGE)!.pa, 1 | 8), SSADE: 1 })),
  },
  { code: fr.FR_SS_NOT_PRESENT, prepare: plain((rig) => nestedBut(rig, ({ inner }) => inner.table.leaf(PAGE)!.pa, null)) },
  {
    code: fr.FR_SS_NOT_PRESENT,
    prepare: plain((rig) => {
      // As above, for the address of a first-stage table
      const nested = rig.nested()
      nested.inner.table.map(PAGE, OUT, 0x1000, RW)
      rig.memory.write64(nested.outer.root, rig.memory.read64(nested.outer.root) & ~1n)
      const { pa } = nested.outer.table.leaf(nested.inner.root)!
      rig.memory.write64(pa, rig.memory.read64(pa) & ~2n)
      return nested.pasid
    }),
  },
  { code: fr.FR_SM_NO_READ, prepare: plain((rig) => nestedBut(rig, () => OUT, 2 | 16)) },
  { code: fr.FR_SM_NO_WRITE, prepare: plain((rig) => nestedBut(rig, () => OUT, 1 | 8)), request: { access: 'write' } },
  // Second stage
  { code: fr.FR_SS_NOT_PRESENT, prepare: plain((rig) => rig.second().pasid) },
  {
    code: fr.FR_SS_NOT_PRESENT,
    prepare: plain((rig) => {
      // Readable above, writable below: together nothing
      const second = brokenSecond(rig, (entry) => entry & ~2n, 'root')
      const { pa } = second.table.leaf(PAGE)!
      rig.memory.write64(pa, rig.memory.read64(pa) & ~1n)
      return second.pasid
    }),
  },
  { code: fr.FR_SS_ACCESS, prepare: plain((rig) => brokenSecond(rig, toHole, 'root').pasid) },
  { code: fr.FR_SS_ROOT_ACCESS, prepare: plain(() => ({ PGTT: 2, AW: 2, SSPTPTR: BigInt(HOLE) })) },
  { code: fr.FR_SS_RESERVED, prepare: plain((rig) => brokenSecond(rig, (entry) => entry | 0x800n, 'root').pasid) },
  { code: fr.FR_SS_ADDRESS_TOO_WIDE, prepare: plain((rig) => rig.second().pasid), request: { iova: 1n << 48n } },
  {
    code: fr.FR_SS_AD_NO_SNOOP,
    prepare: plain((rig) => ({ ...brokenSecond(rig, (entry) => entry).pasid, SSADE: 1, ...UNSNOOPED })),
  },
  // General
  {
    code: fr.FR_SM_HOST_TOO_WIDE,
    options: { hostAddressBits: 40 },
    prepare: plain(() => ({ PGTT: 4, AW: 2 })),
    request: { iova: 1n << 40n },
  },
  {
    code: fr.FR_SM_HOST_TOO_WIDE,
    options: { hostAddressBits: 40 },
    prepare: (rig, FPD) => void rig.plain(DEVICE, { PGTT: 4, AW: 2 }, { FPD }),
    request: { iova: 1n << 40n, kind: 'translated' },
  },
  { code: fr.FR_SM_INTERRUPT_RANGE, prepare: plain((rig) => broken(rig, (entry) => (entry & 0xfffn) | 0xfee0_0000n)) },
  { code: fr.FR_INT_REQUEST, prepare: plain((rig) => first(rig)), request: { iova: 0xfee0_0000n } },
  // Interrupts
  {
    code: fr.FR_INT_REQUEST_RESERVED,
    prepare: (rig) => rig.remapInterrupts(),
    interrupt: { address: 0xfee0_0018n, data: 0x10000 },
  },
  { code: fr.FR_INT_INDEX, prepare: (rig) => rig.remapInterrupts(), interrupt: { address: 0xfee0_0010n | (256n << 5n) } },
  {
    code: fr.FR_IRTE_NOT_PRESENT,
    prepare: (rig, FPD) => {
      rig.irte(1, { P: 0, FPD })
      rig.remapInterrupts()
    },
    interrupt: { address: 0xfee0_0030n },
  },
  {
    code: fr.FR_IRTE_ACCESS,
    prepare: (rig) => {
      rig.set8(REG.IRTA, BigInt(HOLE) | 7n)
      rig.command(1 << 24)
      rig.command(1 << 25)
    },
    interrupt: { address: 0xfee0_0030n },
  },
  {
    code: fr.FR_IRTE_RESERVED,
    prepare: (rig, FPD) => {
      rig.irte(1, { FPD, DST: 0x1000_0000 })
      rig.remapInterrupts()
    },
    interrupt: { address: 0xfee0_0030n },
  },
  { code: fr.FR_INT_COMPATIBILITY, prepare: (rig) => rig.remapInterrupts(), interrupt: { address: 0xfee0_0000n } },
  {
    code: fr.FR_INT_SOURCE,
    prepare: (rig, FPD) => {
      rig.irte(1, { FPD, SVT: 1, SID: 0x40 })
      rig.remapInterrupts()
    },
    interrupt: { address: 0xfee0_0030n },
  },
  {
    code: fr.FR_PI_ACCESS,
    prepare: (rig, FPD) => {
      rig.irtePosted(1, { FPD, PDAL: BigInt(HOLE) })
      rig.remapInterrupts()
    },
    interrupt: { address: 0xfee0_0030n },
  },
  {
    code: fr.FR_PI_RESERVED,
    prepare: (rig, FPD) => {
      const descriptor = rig.memory.allocate(4096)
      rig.memory.write64(descriptor + 56, 1n)
      rig.irtePosted(1, { FPD, PDAL: BigInt(descriptor) })
      rig.remapInterrupts()
    },
    interrupt: { address: 0xfee0_0030n },
  },
]

/** Makes the case's request. @returns the reason that the requester learns of, if it learns of any. */
function happen(rig: Rig, { request, page, interrupt }: Case): number | null {
  if (interrupt !== undefined) {
    const outcome = rig.iommu.interrupt({ device: DEVICE, data: 0, ...interrupt })
    return outcome.ok ? 0 : outcome.code
  }
  if (page !== undefined) {
    rig.iommu.pageRequest({
      device: DEVICE,
      pasid: null,
      address: BigInt(PAGE),
      group: 3,
      last: true,
      read: true,
      write: false,
      execute: false,
      privileged: false,
      ...page,
    })
    return null
  }
  const outcome = rig.iommu.translate({ device: DEVICE, iova: BigInt(PAGE), access: 'read', ...request })
  return outcome.ok ? 0 : outcome.code
}

const hex = (code: number) => `${code.toString(16)}h`

describe('each fault reason', () => {
  for (const [index, each] of CASES.entries()) {
    const reason = faultReason(each.code)!
    it(`${hex(each.code)} ${reason.name}: ${reason.condition} (case ${index})`, () => {
      const rig = new Rig(each.options)
      each.prepare(rig, 0)
      const told = happen(rig, each)
      expect(told === null ? null : hex(told)).toBe(told === null ? null : hex(each.code))
      expect(rig.fault()).toMatchObject({ F: 1, FR: each.code, SID: DEVICE })
      expect(rig.get(REG.FSTS) & 2).toBe(2)
      expect(rig.interrupts).toEqual(['fault-event'])
    })
    if (reason.qualified)
      it(`${hex(each.code)} is not recorded where FPD is 1 (case ${index})`, () => {
        const rig = new Rig(each.options)
        each.prepare(rig, 1)
        // Access faults and the like come before any entry that could say so.
        const told = happen(rig, each)
        expect(told === null || told === each.code).toBe(true)
        expect(rig.faults()).toEqual([])
      })
  }

  it('is raised by a case above, by a test below, or named among those that are not, with why', () => {
    const below = [fr.FR_FS_AD_FAILED, fr.FR_SS_AD_FAILED]
    const covered = [...CASES.map(({ code }) => code), ...below, ...NOT_RAISED.map(({ code }) => code)]
    expect([...new Set(covered)].sort((a, b) => a - b)).toEqual(FAULT_REASONS.map(({ code }) => code).sort((a, b) => a - b))
    for (const { code, why } of NOT_RAISED) {
      expect(CASES.some((each) => each.code === code)).toBe(false)
      expect(why.length).toBeGreaterThan(20)
    }
  })
})

/** Memory that answers, but takes no writes to some pages. */
function readOnly(rig: Rig, pages: ReadonlySet<number>): void {
  const { memory } = rig
  const write = memory.indexForWrite.bind(memory)
  const guarded: WordMemory['indexForWrite'] = (pa) => (pages.has(Math.floor(pa / 4096)) ? -1 : write(pa))
  Object.defineProperty(memory, 'indexForWrite', { value: guarded })
}

describe('updates of A and D that fail', () => {
  it('91h SFS.10: in the first stage; reported although a translation request is answered with no access', () => {
    for (const kind of ['untranslated', 'ats-request'] as const) {
      const rig = new Rig()
      const { table, pasid } = rig.first()
      table.map(PAGE, OUT, 0x1000, RW)
      const { pa } = table.leaf(PAGE)!
      rig.memory.write64(pa, rig.memory.read64(pa) & ~0x60n)
      rig.plain(DEVICE, pasid)
      readOnly(rig, new Set([Math.floor(pa / 4096)]))
      expect(rig.dma(PAGE, { kind })).toMatchObject({
        code: fr.FR_FS_AD_FAILED,
        response: kind === 'ats-request' ? 'no-access' : 'abort',
      })
      expect(rig.faults()).toEqual([fr.FR_FS_AD_FAILED])
    }
  })

  it('7dh SSS.6: in the second stage', () => {
    const rig = new Rig()
    const { table, pasid } = rig.second()
    table.map(PAGE, OUT, 0x1000, RW)
    rig.plain(DEVICE, { ...pasid, SSADE: 1 })
    readOnly(rig, new Set([Math.floor(table.leaf(PAGE)!.pa / 4096)]))
    expect(rig.dma(PAGE)).toMatchObject({ code: fr.FR_SS_AD_FAILED })
  })
})
