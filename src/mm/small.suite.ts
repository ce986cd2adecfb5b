/** Small machines for tests: the CPU's side over a few MiB of memory, and a cache of translations like a device's. */
import type { Op } from '../base/op.ts'
import { PW, UW } from '../base/types.ts'
import { doubleHi, doubleLo, toDouble } from '../base/u64.ts'
import { AD_FAULT, AD_IGNORE, AD_SET } from '../format/pt/format.ts'
import { vmsav8 } from '../format/pt/vmsav8.ts'
import { WALK_OK, Walker } from '../format/pt/walker.ts'
import { x86Cpu } from '../format/pt/x86.ts'
import { PhysicalMemory } from '../memory/physical.ts'
import type { MmNotifier } from './contract.ts'
import type { Mm } from './mm.ts'
import { type CpuDescription, type MmOptions, MmSystem } from './system.ts'

export const BASE = 0x4000_0000

/** AttrIndx 0, inner shareable, not global: Arm ARM D8.3.2. */
const PLAIN = { attributesLo: (3 << 8) | (1 << 11), attributesHi: 0 }

/** An Arm CPU whose hardware manages access and dirty state. */
export const ARM: CpuDescription = {
  format: vmsav8(12, 'el1'),
  topDepth: 3,
  inputBits: 48,
  outputLimit: 2 ** 48,
  asidBits: 16,
  cpus: 4,
  accessed: AD_SET,
  dirty: AD_SET,
  ...PLAIN,
}

/** The configurations that every test of paging runs over. */
export const CPUS: readonly (readonly [string, CpuDescription])[] = [
  ['4 KiB pages, access and dirty state by hardware', ARM],
  ['4 KiB pages, access and dirty state by software', { ...ARM, accessed: AD_FAULT, dirty: AD_IGNORE }],
  ['16 KiB pages', { ...ARM, format: vmsav8(14, 'el1'), topDepth: 2, inputBits: 47 }],
  ['x86-64, 4 levels', { ...x86Cpu(4, { physicalBits: 46 }), asidBits: 12, cpus: 4, kpti: true }],
  ['x86-64, 5 levels', { ...x86Cpu(5), asidBits: 12, cpus: 2 }],
  ['64 KiB pages', { ...ARM, format: vmsav8(16, 'el1'), topDepth: 1, inputBits: 42 }],
]

export function small(cpu: CpuDescription = ARM, options: MmOptions & { readonly bytes?: number } = {}): MmSystem {
  return new MmSystem(new PhysicalMemory([{ start: BASE, end: BASE + (options.bytes ?? 2 ** 30) }]), cpu, options)
}

/** Translations that a device holds: filled by walks, emptied only by invalidations. */
export class Cache implements MmNotifier {
  readonly mm: Mm
  /** Page address → what the walk gave. */
  readonly held = new Map<number, { readonly pa: number; readonly rights: number; readonly written: boolean }>()
  /** Ranges that we were told, in order. */
  readonly told: [bigint | null, bigint | null][] = []
  releases = 0
  /** Runs inside `release`. */
  onRelease: (() => Op<void>) | null = null
  /** Runs inside `invalidate`, before the entries go. */
  onInvalidate: (() => void) | null = null
  readonly #walker: Walker

  constructor(mm: Mm) {
    this.mm = mm
    this.#walker = new Walker(mm.system.memory)
    mm.addNotifier(this)
  }

  /** Uses the table as an IOMMU would, and remembers: what it remembers, it does not look up again. @returns whether it got through. */
  use(address: number, right: number): boolean {
    const { space, system } = this.mm
    const page = address - (address % system.frames.pageBytes)
    const known = this.held.get(page)
    const write = (right & (UW | PW)) !== 0
    if (known !== undefined && (known.rights & right) === 0) return false
    // Only the first write through an entry goes to the table again, where hardware records it there.
    if (known !== undefined && (!write || known.written || space.dirty !== AD_SET)) return true
    if (this.#walker.walk(space, doubleHi(page), doubleLo(page), right, true) !== WALK_OK) return false
    const pa = toDouble(this.#walker.outHi, this.#walker.outLo)
    this.held.set(page, { pa, rights: this.#walker.rights, written: write })
    return true
  }

  *invalidate(start: bigint | null, end: bigint | null): Op<void> {
    this.told.push([start, end])
    this.onInvalidate?.()
    yield { kind: 'step', what: 'invalidation under way' }
    for (const page of this.held.keys()) {
      const bytes = this.mm.system.frames.pageBytes
      if (start === null || end === null || (page < end && page + bytes > start)) this.held.delete(page)
    }
  }

  *release(): Op<void> {
    this.releases++
    if (this.onRelease !== null) yield* this.onRelease()
    this.held.clear()
  }
}
