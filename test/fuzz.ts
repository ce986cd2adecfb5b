/**
 * Random machines: memory full of pointers into itself, random registers. Whatever they hold, the hardware model, the inspector and the
 * drawings must neither crash nor hang. `npm run fuzz` runs 100,000 of them, the tests a few; a seed makes one again.
 */
import { encode, type Layout } from '../src/base/layout.ts'
import { random } from '../src/base/op.ts'
import type { Access } from '../src/base/types.ts'
import { architectureOf } from '../src/cli/architectures.ts'
import { DTE, setGcr3Root } from '../src/format/amdvi/dte.ts'
import { IRTE32 } from '../src/format/amdvi/irte.ts'
import { REG as AMD_REG, FULL_EXT_FEATURE } from '../src/format/amdvi/registers.ts'
import { DC, PC } from '../src/format/riscv/contexts.ts'
import { REG, REGISTERS as RISCV_REGISTERS } from '../src/format/riscv/registers.ts'
import { CD } from '../src/format/smmuv3/cd.ts'
import { REGISTERS as SMMU_REGISTERS } from '../src/format/smmuv3/registers.ts'
import { STE } from '../src/format/smmuv3/ste.ts'
import { CONTEXT_ENTRY, SM_CONTEXT_ENTRY } from '../src/format/vtd/contexts.ts'
import { DESCRIPTORS } from '../src/format/vtd/descriptors.ts'
import { IRTE_REMAPPED } from '../src/format/vtd/irte.ts'
import { PASID_DIR_ENTRY, PASID_ENTRY } from '../src/format/vtd/pasid.ts'
import { FULL_CAP, FULL_ECAP, GS_IRE, GS_IRTP, GS_QIE, GS_RTP, GS_TE, REG as VTD_REG } from '../src/format/vtd/registers.ts'
import { ROOT_ENTRY } from '../src/format/vtd/root.ts'
import { PhysicalMemory } from '../src/memory/physical.ts'
import { renderJson, renderPicture, renderSvg, renderText } from '../src/render/index.ts'

const START = 0x4000_0000
const FRAMES = 24
const DEVICES = [0, 1, 7, 0x30, 0xff, 0x1234, 0xffffff]
const PASIDS = [undefined, 0, 1, 5, 0xff, 0xfffff]
const ACCESSES: readonly Access[] = ['read', 'write', 'execute']
const KINDS = [undefined, 'ats-request', 'translated'] as const

type Below = (below: number) => number

function bits64(next: Below): bigint {
  return (BigInt(next(2 ** 32)) << 32n) | BigInt(next(2 ** 32))
}

/** A word as tables hold them, more often than chance would: nothing, a pointer into the memory with flags, all ones, anything. */
function word(next: Below, shift: number): bigint {
  switch (next(8)) {
    case 0:
    case 1:
      return 0n
    case 2:
      return bits64(next)
    case 3:
      return bits64(next) & bits64(next)
    case 4:
      return 0xffff_ffff_ffff_ffffn
    default: {
      const frame = BigInt(START / 4096 + next(FRAMES))
      const flags = BigInt(next(4096)) | (next(4) === 0 ? BigInt(next(4096)) << 52n : 0n)
      return ((frame << 12n) >> BigInt(shift)) | (flags & ((1n << BigInt(12 - shift)) - 1n)) | (flags & (0xfffn << 52n)) | 1n
    }
  }
}

/** What makes such a machine do something: registers (null leaves the value to chance), and entries that are nearly right. */
interface Plausible {
  /** How far a table entry's address bits stand below the address. */
  readonly shift: number
  /** Devices above it cannot be: ids are requester ids of PCI. */
  readonly lastDevice?: number
  readonly registers: ReadonlyMap<number, (next: Below) => bigint | null>
  plant(memory: PhysicalMemory, next: Below): void
}

const pick = <T>(next: Below, from: readonly T[]): T => from[next(from.length)]!
const page = (next: Below, align = 1) => BigInt(START + Math.floor(next(FRAMES) / align) * align * 4096)

/** Writes a structure, half of the time with a few bits turned over. */
function put(memory: PhysicalMemory, next: Below, pa: number, layout: Layout, values: Record<string, number | bigint>): void {
  const words = encode(layout, values)
  if (next(2) === 0) for (let flips = next(4); flips > 0; flips--) words[next(words.length)]! ^= 1 << next(32)
  for (const [index, word] of words.entries()) memory.write32(pa + index * 4, word)
}

const PLAUSIBLE: Record<string, Plausible> = {
  smmuv3: {
    shift: 0,
    registers: new Map(
      SMMU_REGISTERS.map(({ name, offset }) => [
        offset,
        (next: Below) => {
          if (name === 'CR0') return next(16) === 0 ? null : BigInt(next(32) | 1)
          if (name === 'IDR0') return next(4) === 0 ? null : 0x0d4c101fn
          if (name === 'IDR1') return next(4) === 0 ? null : 0x02730510n
          if (name === 'IDR5') return next(4) === 0 ? null : 0x75n
          if (name === 'STRTAB_BASE') return next(8) === 0 ? null : BigInt(START)
          if (name === 'STRTAB_BASE_CFG') return next(4) === 0 ? null : BigInt(next(8) === 0 ? 1 << 16 : 0) | BigInt(6 << 6) | 8n
          if (name.endsWith('_BASE')) return page(next) | BigInt(next(8))
          return null
        },
      ]),
    ),
    plant(memory, next) {
      const contexts = START + (4 + next(FRAMES - 4)) * 4096
      for (const device of DEVICES.filter((id) => id < 64)) {
        put(memory, next, START + device * 64, STE, {
          ...{
            V: 1,
            Config: pick(next, [4, 5, 5, 6, 7]),
            S1ContextPtr: BigInt(contexts),
            S1CDMax: next(4),
            S1DSS: next(3),
            EATS: next(2),
          },
          ...{
            S2VMID: next(4),
            S2T0SZ: pick(next, [24, 25, 34]),
            S2SL0: next(3),
            S2PS: 4,
            S2AA64: 1,
            S2AFFD: next(2),
            S2R: 1,
            S2TTB: page(next),
          },
        })
      }
      for (let index = 0; index < 8; index++) {
        const t0sz = pick(next, [16, 16, 25, 32])
        const flags = {
          V: 1,
          AA64: 1,
          A: 1,
          R: next(2),
          ASET: 1,
          EPD1: 1,
          AFFD: next(2),
          IPS: 4,
          ASID: next(9),
          T0SZ: t0sz,
          TBI0: next(2),
        }
        put(memory, next, contexts + index * 64, CD, { ...flags, TTB0: page(next) })
      }
    },
  },
  riscv: {
    shift: 2,
    registers: new Map([
      [REG.capabilities, (next) => (next(4) === 0 ? null : 0x1c7_ffff_ff10n | (56n << 32n))],
      [REG.fctl, (next) => (next(8) === 0 ? BigInt(next(8)) : 0n)],
      [REG.ddtp, (next) => (BigInt(START / 4096) << 10n) | (next(4) === 0 ? BigInt(1 + next(4)) : 2n)],
      ...RISCV_REGISTERS.filter(({ name }) => /^[cfp]qb$/.test(name)).map(
        ({ offset }) => [offset, (next: Below) => (page(next) >> 2n) | BigInt(next(12))] as const,
      ),
    ]),
    plant(memory, next) {
      const processes = page(next)
      for (const device of DEVICES.filter((id) => id < 64)) {
        const directory = next(2)
        put(memory, next, START + device * 64, DC, {
          ...{
            'tc.V': 1,
            'tc.EN_ATS': next(2),
            'tc.EN_PRI': next(2),
            'tc.PDTV': directory,
            'tc.GADE': next(2),
            'tc.SADE': next(2),
          },
          ...{
            'tc.DPE': directory & next(2),
            'iohgatp.MODE': pick(next, [0, 0, 8, 9]),
            'iohgatp.PPN': page(next, 4),
            'ta.PSCID': next(4),
          },
          ...{ 'fsc.MODE': directory === 1 ? 1 : pick(next, [0, 8, 9, 10]), 'fsc.PPN': directory === 1 ? processes : page(next) },
        })
      }
      for (let index = 0; index < 8; index++)
        put(memory, next, Number(processes) + index * 16, PC, {
          ...{ 'ta.V': 1, 'ta.ENS': next(2), 'ta.SUM': next(2), 'ta.PSCID': next(4) },
          ...{ 'fsc.MODE': pick(next, [0, 8, 9, 10]), 'fsc.PPN': page(next) },
        })
    },
  },
  amdvi: {
    shift: 0,
    lastDevice: 0xffff,
    registers: new Map<number, (next: Below) => bigint | null>([
      [AMD_REG.DEV_TAB_BASE, (next) => BigInt(START) | BigInt(next(8) === 0 ? next(512) : 3)],
      [AMD_REG.CONTROL, (next) => (bits64(next) & bits64(next) & bits64(next)) | (next(16) === 0 ? 0n : 0x1_3005n)],
      [AMD_REG.EXT_FEATURE, (next) => (next(4) === 0 ? null : FULL_EXT_FEATURE)],
      [AMD_REG.EXCL_BASE, (next) => page(next) | BigInt(next(4))],
      ...[AMD_REG.CMD_BUF_BASE, AMD_REG.EVT_LOG_BASE, AMD_REG.PPR_LOG_BASE].map(
        (offset) => [offset, (next: Below) => page(next) | (BigInt(next(8) === 0 ? next(16) : 8) << 56n)] as const,
      ),
      ...[AMD_REG.CMD_HEAD, AMD_REG.CMD_TAIL, AMD_REG.EVT_HEAD, AMD_REG.EVT_TAIL, AMD_REG.PPR_HEAD, AMD_REG.PPR_TAIL].map(
        (offset) => [offset, (next: Below) => BigInt(next(4) === 0 ? next(2 ** 20) : next(256) * 16)] as const,
      ),
    ]),
    plant(memory, next) {
      for (const device of DEVICES.filter((id) => id < 512)) {
        const place = Number(page(next))
        const words = new Uint32Array(DTE.bits / 32)
        setGcr3Root(words, place)
        put(memory, next, START + device * 32, DTE, {
          ...{ V: 1, TV: pick(next, [0, 1, 1, 1]), HAD: pick(next, [0, 1, 3]), Mode: pick(next, [0, 0, 1, 3, 4, 6]) },
          ...{ HostPageTableRootPtr: page(next), PPR: next(2), GPRP: next(2), GIOV: next(2), GV: next(2), GLX: next(3) },
          ...{ IR: 1, IW: pick(next, [0, 1, 1]), DomainID: next(4), I: next(2), SE: next(2), EX: next(2) },
          ...{ 'GCR3TableRootPtr[14:12]': (words[1]! >>> 26) & 7, 'GCR3TableRootPtr[30:15]': words[2]! >>> 16 },
          ...{ 'GCR3TableRootPtr[51:31]': words[3]! >>> 11, GuestPagingMode: next(2) },
          ...{ IV: next(2), IntTabLen: next(12), IntCtl: next(3), InterruptTableRootPtr: page(next), IG: next(2) },
        })
      }
      for (let index = 0; index < 8; index++)
        put(memory, next, Number(page(next)) + next(16) * 4, IRTE32, { RemapEn: 1, IntType: next(8), Vector: next(256) })
    },
  },
  vtd: {
    shift: 0,
    lastDevice: 0xffff,
    registers: new Map<number, (next: Below) => bigint | null>([
      [VTD_REG.CAP, (next) => (next(4) === 0 ? null : FULL_CAP)],
      [VTD_REG.ECAP, (next) => (next(4) === 0 ? null : FULL_ECAP & (next(2) === 0 ? ~0n : bits64(next) | bits64(next)))],
      [VTD_REG.GSTS, (next) => (next(16) === 0 ? null : BigInt((GS_TE | GS_RTP | GS_IRTP | GS_IRE | GS_QIE) >>> 0))],
      [VTD_REG.RTADDR, (next) => BigInt(START) | (BigInt(next(8) === 0 ? next(4) : next(2)) << 10n)],
      [VTD_REG.IQA, (next) => page(next) | BigInt(next(2) * 0x800)],
      [VTD_REG.IRTA, (next) => page(next) | BigInt(next(16) + next(2) * 0x800)],
      [VTD_REG.PQA, (next) => page(next) | BigInt(next(2))],
      ...[VTD_REG.IQH, VTD_REG.IQT, VTD_REG.PQH, VTD_REG.PQT].map(
        (offset) => [offset, (next: Below) => BigInt(next(4) === 0 ? next(2 ** 20) : next(128) * 32)] as const,
      ),
    ]),
    plant(memory, next) {
      // Context tables of bus 0, and where both modes look for a device in them.
      const contexts = START + 0x1000
      for (const half of [0, 8])
        put(memory, next, START + half, ROOT_ENTRY, { P: 1, CTP: BigInt(contexts + ((next(2) * half) / 8) * 0x1000) })
      const directory = Number(page(next))
      const scalable = next(2) === 1
      for (const device of DEVICES.filter((id) => id < 256)) {
        if (scalable)
          put(memory, next, contexts + (device & 0x7f) * 32, SM_CONTEXT_ENTRY, {
            ...{ P: 1, FPD: next(2), DTE: next(4) > 0 ? 1 : 0, PASIDE: next(2), PRE: next(2), PDTS: next(8) },
            ...{ PASIDDIRPTR: BigInt(directory), RID_PASID: pick(next, [0, 0, 1, 5]), RID_PRIV: next(2) },
          })
        else
          put(memory, next, contexts + device * 16, CONTEXT_ENTRY, {
            ...{ P: 1, FPD: next(2), TT: pick(next, [0, 1, 1, 2]), SSPTPTR: page(next), AW: 1 + next(3), DID: next(4) },
          })
      }
      const table = page(next)
      put(memory, next, directory, PASID_DIR_ENTRY, { P: 1, SMPTBLPTR: table })
      for (const pasid of [0, 1, 5])
        put(memory, next, Number(table) + pasid * 64, PASID_ENTRY, {
          ...{ P: 1, FPD: next(2), PGTT: pick(next, [1, 1, 2, 3, 3, 4]), AW: 1 + next(3), SSADE: next(2), SSPTPTR: page(next) },
          ...{
            DID: next(4),
            PWSNP: next(2),
            SRE: next(2),
            ERE: next(2),
            FSPM: next(2),
            WPE: next(2),
            NXE: next(2),
            SMEP: next(2),
          },
          ...{ EAFE: next(2), FSPTPTR: page(next) },
        })
      for (let index = 0; index < 8; index++) {
        const entry = { P: 1, FPD: next(2), IM: next(4) === 0 ? 1 : 0, V: next(256), SVT: next(3), SID: next(2 ** 16) }
        put(memory, next, Number(page(next)) + next(16) * 16, IRTE_REMAPPED, entry)
        const type = 1 + next(9)
        put(memory, next, Number(page(next)) + next(128) * 32, DESCRIPTORS[type]!, { TYPE: type })
      }
    },
  },
}

/** Builds and tries one machine. Throws what went wrong. */
export function fuzzOne(kind: string, seed: number): void {
  const next = random(seed * 2654435761 + 1)
  const { shift, registers, plant, lastDevice = 0xffffff } = PLAUSIBLE[kind]!
  const memory = new PhysicalMemory([{ start: START, end: START + FRAMES * 4096 }])
  const density = 1 + next(64)
  for (let pa = START; pa < START + FRAMES * 4096; pa += 8) if (next(64) < density) memory.write64(pa, word(next, shift))
  plant(memory, next)
  const values = new Map<number, bigint>()
  const register = (offset: number, bytes: 4 | 8) => {
    const known = values.get(offset)
    if (known !== undefined) return known
    const value = registers.get(offset)?.(next) ?? bits64(next) & bits64(next)
    values.set(offset, bytes === 4 ? value & 0xffff_ffffn : value)
    return values.get(offset)!
  }
  const { inspect, restore } = architectureOf(kind, 'fuzz')
  const model = restore(memory, register)
  for (let count = 0; count < 12; count++) {
    const pasid = PASIDS[next(PASIDS.length)]
    const kindOf = KINDS[next(6)]
    const transaction = {
      device: Math.min(lastDevice, DEVICES[next(DEVICES.length)]!),
      ...(pasid === undefined ? {} : { pasid }),
      ...(kindOf === undefined ? {} : { kind: kindOf }),
      iova: next(2) === 0 ? bits64(next) : BigInt(next(2 ** 31)),
      access: ACCESSES[next(3)]!,
      privileged: next(2) === 1,
    }
    model.explain(transaction)
    model.translate(transaction)
    const { device, access, privileged } = transaction
    const request = { group: next(512), last: next(2) === 1, read: access === 'read', write: next(2) === 1, execute: false }
    model.pageRequest({ device, pasid: pasid ?? null, address: transaction.iova & ~0xfffn, privileged, ...request })
    model.interrupt?.({ device, address: 0xfee0_0000n | BigInt(next(2 ** 20)), data: next(2 ** 16) })
  }
  // Software writes a register: queues run.
  for (const offset of registers.keys()) {
    if (next(3) > 0) continue
    model.write(offset, next(2) === 0 ? 4 : 8, bits64(next))
    for (let steps = 0; steps < 100 && model.step(); steps++);
  }
  const graph = inspect({
    title: `fuzz ${seed}`,
    memory,
    register,
    budget: { tables: 2000, ranges: 2000, entries: 20_000, listed: 500 },
  })
  renderPicture(graph, { colour: seed % 2 === 0 })
  renderText(graph, { verbose: (seed % 3) as 0 | 1 | 2 })
  if (seed % 8 === 0) {
    renderSvg(graph)
    renderJson(graph)
  }
}

export const FUZZ_KINDS = Object.keys(PLAUSIBLE)
