/**
 * The registers of both pages, with the rules for software's writes: read-only ones, fields that only stand while something is off,
 * reserved bits. Arm IHI 0070, 6.2 and 6.3; what SMMUv3.2 and later allow where earlier ones leave it open (such writes are ignored).
 */
import { type Field, maskIn } from '../../base/layout.ts'
import { doubleHi, toDouble, u64 } from '../../base/u64.ts'
import { CR0, CR1, CR2, GBPA, IRQ_CTRL, PAGE_1, REGISTERS, type Register, registerNamed } from '../../format/smmuv3/registers.ts'

const at = (name: string) => registerNamed(name).offset
const bit = (field: Field) => maskIn(field, 0) >>> 0

/** Offsets of the registers that the model itself uses. */
export const AT = {
  CR0: at('CR0'),
  CR0ACK: at('CR0ACK'),
  CR1: at('CR1'),
  CR2: at('CR2'),
  GBPA: at('GBPA'),
  IRQ_CTRL: at('IRQ_CTRL'),
  IRQ_CTRLACK: at('IRQ_CTRLACK'),
  GERROR: at('GERROR'),
  GERRORN: at('GERRORN'),
  GERROR_IRQ_CFG0: at('GERROR_IRQ_CFG0'),
  STRTAB_BASE: at('STRTAB_BASE'),
  STRTAB_BASE_CFG: at('STRTAB_BASE_CFG'),
  CMDQ_BASE: at('CMDQ_BASE'),
  CMDQ_PROD: at('CMDQ_PROD'),
  CMDQ_CONS: at('CMDQ_CONS'),
  EVENTQ_BASE: at('EVENTQ_BASE'),
  EVENTQ_PROD: at('EVENTQ_PROD'),
  EVENTQ_CONS: at('EVENTQ_CONS'),
  EVENTQ_IRQ_CFG0: at('EVENTQ_IRQ_CFG0'),
  PRIQ_BASE: at('PRIQ_BASE'),
  PRIQ_PROD: at('PRIQ_PROD'),
  PRIQ_CONS: at('PRIQ_CONS'),
  PRIQ_IRQ_CFG0: at('PRIQ_IRQ_CFG0'),
} as const

/** Bits of CR0 and CR0ACK. */
export const SMMUEN = bit(CR0.fields.SMMUEN)
export const PRIQEN = bit(CR0.fields.PRIQEN)
export const EVENTQEN = bit(CR0.fields.EVENTQEN)
export const CMDQEN = bit(CR0.fields.CMDQEN)
export const ATSCHK = bit(CR0.fields.ATSCHK)
/** Bits of IRQ_CTRL. */
export const GERROR_IRQEN = bit(IRQ_CTRL.fields.GERROR_IRQEN)
export const PRIQ_IRQEN = bit(IRQ_CTRL.fields.PRIQ_IRQEN)
export const EVENTQ_IRQEN = bit(IRQ_CTRL.fields.EVENTQ_IRQEN)
const GBPA_UPDATE = bit(GBPA.fields.Update)
const CR1_TABLE = bit(CR1.fields.TABLE_IC) | bit(CR1.fields.TABLE_OC) | bit(CR1.fields.TABLE_SH)
const CR1_QUEUE = bit(CR1.fields.QUEUE_IC) | bit(CR1.fields.QUEUE_OC) | bit(CR1.fields.QUEUE_SH)

/** A register that only changes while an enable bit is clear, in the control register and in its acknowledgement. */
const GUARDS: readonly [names: readonly string[], control: 'CR0' | 'IRQ_CTRL', enable: number][] = [
  [['CR2', 'STRTAB_BASE', 'STRTAB_BASE_CFG'], 'CR0', SMMUEN],
  [['CMDQ_BASE', 'CMDQ_CONS'], 'CR0', CMDQEN],
  [['EVENTQ_BASE', 'EVENTQ_PROD'], 'CR0', EVENTQEN],
  [['PRIQ_BASE', 'PRIQ_PROD'], 'CR0', PRIQEN],
  [['GERROR_IRQ_CFG0', 'GERROR_IRQ_CFG1', 'GERROR_IRQ_CFG2'], 'IRQ_CTRL', GERROR_IRQEN],
  [['EVENTQ_IRQ_CFG0', 'EVENTQ_IRQ_CFG1', 'EVENTQ_IRQ_CFG2'], 'IRQ_CTRL', EVENTQ_IRQEN],
  [['PRIQ_IRQ_CFG0', 'PRIQ_IRQ_CFG1', 'PRIQ_IRQ_CFG2'], 'IRQ_CTRL', PRIQ_IRQEN],
]

/** Words of each page that are kept: all registers lie in the first 4 KiB. */
const PAGE_WORDS = 1024

/** What the write rules depend on. */
export interface RegisterFeatures {
  readonly ats: boolean
  readonly pri: boolean
  readonly msi: boolean
  readonly vmw: boolean
  readonly recordConfigAts: boolean
  readonly hyp: boolean
  /** Output address size in bits. */
  readonly oas: number
}

export class RegisterFile {
  readonly #words = new Uint32Array(PAGE_WORDS * 2)
  /** Bits that software can write, by word. */
  readonly #writable = new Uint32Array(PAGE_WORDS * 2)
  readonly #guard = new Map<number, { control: number; enable: number }>()

  constructor() {
    for (const [names, control, enable] of GUARDS) {
      for (const name of names) {
        const { offset, bytes } = registerNamed(name)
        for (let half = 0; half < bytes; half += 4) this.#guard.set(offset + half, { control: AT[control], enable })
      }
    }
  }

  /** Sets which bits software can write. Reserved bits, and bits of what is not there, are not stored. */
  configure(features: RegisterFeatures): void {
    for (const register of REGISTERS) {
      for (let half = 0; half < register.bytes; half += 4) {
        const index = this.#index(register.offset + half)
        this.#writable[index] =
          register.access === 'RW' && present(register, features) ? writableBits(register, half, features) : 0
      }
    }
  }

  /** The 32-bit value at an offset; 0 where there is no register. */
  get(offset: number): number {
    const index = this.#index(offset)
    return index < 0 ? 0 : this.#words[index]!
  }

  /** Sets a value as the hardware does, whatever the rules for software. */
  set(offset: number, value: number): void {
    this.#words[this.#index(offset)] = value
  }

  /** A 64-bit register's address bits (`high`:`low` of it) as a double. */
  address(offset: number, maskHi: number, maskLo: number): number {
    return toDouble(this.get(offset + 4) & maskHi, this.get(offset) & maskLo)
  }

  read(offset: number, bytes: 4 | 8): bigint {
    return bytes === 8 ? u64(this.get(offset + 4), this.get(offset)) : BigInt(this.get(offset))
  }

  /** A 32-bit write by software. @returns whether it was taken. */
  write(offset: number, value: number): boolean {
    const index = this.#index(offset)
    if (index < 0) return false
    let mask = this.#writable[index]!
    const guard = this.#guard.get(offset)
    if (guard !== undefined && this.#enabled(guard.control, guard.enable)) return false
    if (offset === AT.CR1) {
      if (this.#enabled(AT.CR0, SMMUEN)) mask &= ~CR1_TABLE
      if (this.#enabled(AT.CR0, CMDQEN | EVENTQEN | PRIQEN)) mask &= ~CR1_QUEUE
    }
    // 6.3.14.1: a write without Update is ignored; the update is complete at once, so Update reads 0.
    if (offset === AT.GBPA) {
      if ((value & GBPA_UPDATE) === 0) return false
      mask &= ~GBPA_UPDATE
    }
    if (mask === 0) return false
    this.#words[index] = (this.#words[index]! & ~mask) | (value & mask)
    return true
  }

  #enabled(control: number, enable: number): boolean {
    // CR0ACK and IRQ_CTRLACK follow their control registers.
    return ((this.get(control) | this.get(control + 4)) & enable) !== 0
  }

  #index(offset: number): number {
    if (offset % 4 !== 0 || offset < 0) return -1
    if (offset < PAGE_WORDS * 4) return offset / 4
    const inPage1 = offset - PAGE_1
    return inPage1 >= 0 && inPage1 < PAGE_WORDS * 4 ? PAGE_WORDS + inPage1 / 4 : -1
  }
}

/** Registers of what is not implemented are reserved (6.3.30, 6.3.33). */
function present(register: Register, features: RegisterFeatures): boolean {
  if (register.name.startsWith('PRIQ_') && !features.pri) return false
  return !register.name.includes('_IRQ_CFG') || features.msi
}

function writableBits(register: Register, half: number, features: RegisterFeatures): number {
  let mask = 0
  for (const field of Object.values(register.layout.fields)) mask |= maskIn(field, half / 4)
  // 6.3.24, 6.3.26: address bits above the output address size are reserved.
  if (register.bytes === 8 && half === 4) mask &= doubleHi(2 ** features.oas - 1) | 0x40000000
  if (register.name === 'CR0') {
    mask &= ~bit(CR0.fields.DPT_WALK_EN)
    if (!features.pri) mask &= ~PRIQEN
    if (!features.ats) mask &= ~ATSCHK
    if (!features.vmw) mask &= ~bit(CR0.fields.VMW)
  }
  if (register.name === 'IRQ_CTRL' && !features.pri) mask &= ~PRIQ_IRQEN
  if (register.name === 'CR2') {
    mask &= ~bit(CR2.fields.PTM)
    if (!features.hyp) mask &= ~bit(CR2.fields.E2H)
    if (!features.recordConfigAts) mask &= ~bit(CR2.fields.REC_CFG_ATS)
  }
  return mask >>> 0
}
