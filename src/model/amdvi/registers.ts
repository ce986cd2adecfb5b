/**
 * The register file, with the rules for software's writes. AMD IOMMU specification (48882), 3.4 "IOMMU MMIO Registers".
 *
 * Where the specification leaves behaviour undefined a write is ignored: a base register, or the pointer that the IOMMU moves, of a ring
 * that runs; a ring's length below 256 entries; a pointer beyond the ring; more segments of the device table than there may be.
 */
import { type Layout, maskIn } from '../../base/layout.ts'
import { hi32, lo32, u64 } from '../../base/u64.ts'
import {
  baseAddress,
  CONTROL,
  CONTROL_CMD_BUF_EN,
  CONTROL_EVENT_LOG_EN,
  CONTROL_HI_DEV_TBL_SEG_SHIFT,
  CONTROL_IOMMU_EN,
  CONTROL_PPR_EN,
  CONTROL_PPR_LOG_EN,
  EXT_FEATURE,
  REG,
  REGISTER_BYTES,
  REGISTERS,
  ringLog2,
  STATUS_CMD_BUF_RUN,
  STATUS_COM_WAIT_INT,
  STATUS_EVENT_LOG_INT,
  STATUS_EVENT_LOG_RUN,
  STATUS_EVENT_OVERFLOW,
  STATUS_PPR_INT,
  STATUS_PPR_OVERFLOW,
  STATUS_PPR_RUN,
} from '../../format/amdvi/registers.ts'
import type { AmdOptions } from './options.ts'

/** Bits of STATUS that the IOMMU sets and software clears by writing 1. */
const STATUS_CLEARED = STATUS_EVENT_OVERFLOW | STATUS_EVENT_LOG_INT | STATUS_COM_WAIT_INT | STATUS_PPR_OVERFLOW | STATUS_PPR_INT
const RUNNING = STATUS_EVENT_LOG_RUN | STATUS_CMD_BUF_RUN | STATUS_PPR_RUN

/** A ring's registers. `run` is its bit in STATUS; `owned` the pointer that the IOMMU moves. */
export interface Ring {
  readonly base: number
  readonly head: number
  readonly tail: number
  readonly run: number
  readonly owned: number
}
export const COMMANDS: Ring = {
  base: REG.CMD_BUF_BASE,
  head: REG.CMD_HEAD,
  tail: REG.CMD_TAIL,
  run: STATUS_CMD_BUF_RUN,
  owned: REG.CMD_HEAD,
}
export const EVENT_LOG: Ring = {
  base: REG.EVT_LOG_BASE,
  head: REG.EVT_HEAD,
  tail: REG.EVT_TAIL,
  run: STATUS_EVENT_LOG_RUN,
  owned: REG.EVT_TAIL,
}
export const PPR_LOG: Ring = {
  base: REG.PPR_LOG_BASE,
  head: REG.PPR_HEAD,
  tail: REG.PPR_TAIL,
  run: STATUS_PPR_RUN,
  owned: REG.PPR_TAIL,
}
const RINGS = [COMMANDS, EVENT_LOG, PPR_LOG]

/** Control bits that stand only for what the extended features have: [feature, control field]. */
const NEEDS: readonly [keyof typeof EXT_FEATURE.fields, readonly (keyof typeof CONTROL.fields)[]][] = [
  ['PPRSup', ['PPRLogEn', 'PPRIntEn', 'PPREn']],
  ['GTSup', ['GTEn']],
  ['GASup', ['GAEn']],
  ['GAMSup', ['GAMEn', 'GALogEn', 'GAIntEn']],
  ['SmiFSup', ['SmiFEn', 'SmiFLogEn']],
  ['DualPprLogSup', ['DualPprLogEn']],
  ['DualEventLogSup', ['DualEventLogEn']],
  ['PprAutoRspSup', ['PprAutoRspEn', 'PprAutoRspAon']],
  ['MarcSup', ['MarcEn']],
  ['BlkStopMrkSup', ['BlkStopMrkEn']],
  ['EPHSup', ['EPHEn']],
  ['HASup', ['HADUpdate']],
  ['GAUpdateDisSup', ['GAUpdateDis']],
  ['XTSup', ['XTEn', 'IntCapXTEn']],
  ['VIommuSup', ['vCmdEn', 'vIommuEn', 'GstBufferTRPMode']],
  ['GAPPISup', ['GAPPIEn']],
]

/** Read-only for software. */
const READ_ONLY = new Set<number>([REG.EXT_FEATURE, REG.EXT_FEATURE2])

export class RegisterFile {
  readonly #words = new Int32Array(REGISTER_BYTES / 4)
  /** Bits that software can write, by word. */
  readonly #writable = new Int32Array(REGISTER_BYTES / 4)
  /** An error stopped the command buffer; until CmdBufEn is written as 0. */
  halted = false

  constructor(options: AmdOptions) {
    this.#put8(REG.EXT_FEATURE, hi32(options.efr), lo32(options.efr))
    this.#put8(REG.EXT_FEATURE2, hi32(options.efr2), lo32(options.efr2))
    this.configure()
  }

  /** Which bits software can write, by what the feature registers say. */
  configure(): void {
    for (const { offset, layout } of REGISTERS) {
      const known = READ_ONLY.has(offset) || !this.#present(offset)
      for (let half = 0; half < 2; half++) this.#writable[offset / 4 + half] = known ? 0 : maskOf(layout, half)
    }
    for (const [feature, fields] of NEEDS) {
      if (this.feature(feature) !== 0) continue
      for (const name of fields) {
        const field = CONTROL.fields[name]
        for (let half = 0; half < 2; half++) this.#writable[REG.CONTROL / 4 + half]! &= ~maskIn(field, half)
      }
    }
  }

  #present(offset: number): boolean {
    if (offset === REG.PPR_LOG_BASE || offset === REG.PPR_HEAD || offset === REG.PPR_TAIL) return this.feature('PPRSup') !== 0
    if (offset === REG.PPR_LOG_AUTO_RSP) return this.feature('PprAutoRspSup') !== 0
    if (offset === REG.HW_EVT_HI || offset === REG.HW_EVT_LO) return this.feature('HESup') !== 0
    if (offset >= REG.DEV_TAB_SEG1 && offset < REG.DEV_TAB_SEG1 + 56)
      return (offset - REG.DEV_TAB_SEG1) / 8 + 1 < 2 ** this.feature('DevTblSegSup')
    return offset !== REG.HW_EVT_STATUS
  }

  /** A field of EXT_FEATURE (of at most 32 bits). */
  feature(name: keyof typeof EXT_FEATURE.fields): number {
    const { msb, lsb } = EXT_FEATURE.fields[name]
    const word = lsb >= 32 ? this.get(REG.EXT_FEATURE + 4) : this.get(REG.EXT_FEATURE)
    return (word >>> (lsb & 31)) & (2 ** (msb - lsb + 1) - 1)
  }

  /** The 32-bit word at an offset, signed; as kept, without what is computed when read. */
  get(offset: number): number {
    return this.#words[offset >>> 2]!
  }

  /** Sets a word as the hardware does, whatever the rules for software. */
  set(offset: number, value: number): void {
    this.#words[offset >>> 2] = value
  }

  /** The address in a register (bits 51:12). */
  address(offset: number): number {
    return baseAddress(this.get(offset + 4), this.get(offset))
  }

  get control(): number {
    return this.get(REG.CONTROL)
  }

  get controlHi(): number {
    return this.get(REG.CONTROL + 4)
  }

  get enabled(): boolean {
    return (this.control & CONTROL_IOMMU_EN) !== 0
  }

  /** STATUS as it is now. What runs: what is enabled, with the IOMMU, and not stopped by an error or an overflow. */
  get status(): number {
    const { control } = this
    let status = this.get(REG.STATUS)
    if ((control & CONTROL_IOMMU_EN) === 0) return status
    if ((control & CONTROL_CMD_BUF_EN) !== 0 && !this.halted) status |= STATUS_CMD_BUF_RUN
    if ((control & CONTROL_EVENT_LOG_EN) !== 0 && (status & STATUS_EVENT_OVERFLOW) === 0) status |= STATUS_EVENT_LOG_RUN
    if ((control & CONTROL_PPR_EN) !== 0 && (control & CONTROL_PPR_LOG_EN) !== 0 && (status & STATUS_PPR_OVERFLOW) === 0)
      status |= STATUS_PPR_RUN
    return status
  }

  /** Sets bits of STATUS. @returns those that were not set yet. */
  raise(bits: number): number {
    const before = this.get(REG.STATUS)
    this.set(REG.STATUS, before | bits)
    return bits & ~before
  }

  /** Bytes of a ring. */
  ringBytes(ring: Ring): number {
    return 2 ** ringLog2(this.get(ring.base + 4))
  }

  read(offset: number, bytes: 4 | 8): bigint {
    if (!inside(offset, bytes)) return 0n
    const low = offset === REG.STATUS ? this.status : this.get(offset)
    return u64(bytes === 8 ? this.get(offset + 4) : 0, low)
  }

  /** A write by software. */
  write(offset: number, bytes: 4 | 8, value: bigint): void {
    if (!inside(offset, bytes)) return
    const at = offset - (offset % 8)
    const high = bytes === 8 ? hi32(value) : offset === at ? this.get(at + 4) : lo32(value)
    const low = bytes === 8 || offset === at ? lo32(value) : this.get(at)
    if (at === REG.STATUS) this.set(at, this.get(at) & ~(offset === at ? low & STATUS_CLEARED : 0))
    else if (at === REG.HW_EVT_STATUS) this.set(at, this.get(at) & ~(offset === at ? low & 3 : 0))
    else this.#write8(at, high, low)
  }

  #write8(at: number, high: number, low: number): void {
    const index = at / 4
    const newHigh = (this.get(at + 4) & ~this.#writable[index + 1]!) | (high & this.#writable[index + 1]!)
    const newLow = (this.get(at) & ~this.#writable[index]!) | (low & this.#writable[index]!)
    const ring = RINGS.find(({ base, head, tail }) => at === base || at === head || at === tail)
    if (ring !== undefined) {
      if (at === ring.base) this.#base(ring, newHigh, newLow)
      else this.#pointer(ring, at, newLow)
    } else if (at === REG.CONTROL) this.#control(newHigh, newLow)
    else this.#put8(at, newHigh, newLow)
  }

  // 2.4, 2.5, 2.6: writing the base clears both pointers.
  #base(ring: Ring, high: number, low: number): void {
    if ((this.status & ring.run) !== 0 || (high >>> 24) << 28 >= 0) return
    this.#put8(ring.base, high, low)
    this.#put8(ring.head, 0, 0)
    this.#put8(ring.tail, 0, 0)
  }

  #pointer(ring: Ring, at: number, low: number): void {
    const ownedAndRunning = at === ring.owned && (this.status & ring.run) !== 0
    if (!ownedAndRunning && low < this.ringBytes(ring)) this.set(at, low)
  }

  #control(high: number, low: number): void {
    const segments = (high >>> CONTROL_HI_DEV_TBL_SEG_SHIFT) & 7
    if (segments > this.feature('DevTblSegSup')) {
      const mask = 7 << CONTROL_HI_DEV_TBL_SEG_SHIFT
      high = (high & ~mask) | (this.controlHi & mask)
    }
    this.#put8(REG.CONTROL, high, low)
    if ((low & CONTROL_CMD_BUF_EN) === 0) this.halted = false
  }

  /** A hardware error, for the registers that hold the first one (3.4.9). */
  hardwareError(event: Int32Array): void {
    if (this.feature('HESup') === 0) return
    const status = this.get(REG.HW_EVT_STATUS)
    if ((status & 1) !== 0) {
      this.set(REG.HW_EVT_STATUS, status | 2)
      return
    }
    this.#put8(REG.HW_EVT_HI, event[1]!, event[0]!)
    this.#put8(REG.HW_EVT_LO, event[3]!, event[2]!)
    this.set(REG.HW_EVT_STATUS, 1)
  }

  /** Takes a register over as it was captured, without what a write would set off. */
  load(at: number, value: bigint): void {
    this.#put8(at, hi32(value), lo32(value))
    // What runs is computed; a command buffer that is enabled and does not run was stopped by an error.
    if (at !== REG.STATUS) return
    this.halted = (lo32(value) & STATUS_CMD_BUF_RUN) === 0
    this.set(at, lo32(value) & ~RUNNING)
  }

  #put8(at: number, high: number, low: number): void {
    this.set(at, low)
    this.set(at + 4, high)
  }
}

function inside(offset: number, bytes: number): boolean {
  return offset >= 0 && offset % bytes === 0 && offset + bytes <= REGISTER_BYTES
}

function maskOf(layout: Layout, half: number): number {
  let mask = 0
  for (const field of Object.values(layout.fields)) mask |= maskIn(field, half)
  return mask
}
