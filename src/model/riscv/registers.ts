/**
 * The register file: what each register keeps of a write. RISC-V IOMMU 1.0, "Memory-mapped register interface".
 *
 * Where the specification leaves behaviour open: an access that is not aligned or spans registers reads 0 and writes nothing; fctl keeps
 * its value while the IOMMU is not Off or a queue is on; ddtp keeps its value when the mode is not legal, or changes between levels without
 * Off or Bare in between; a queue's base keeps its value while the queue is on, and writing it clears the index that software owns; all
 * changes take effect at once, so `busy` reads 0.
 */

import { hi32, lo32, u64 } from '../../base/u64.ts'
import { featuresOf, type RiscvFeatures } from '../../format/riscv/features.ts'
import {
  CAP_ATS,
  CAP_DBG,
  CAP_END,
  CAP_HI_QOSID,
  CAP_HPM,
  CQCSR_FENCE,
  CQCSR_ILLEGAL,
  CQCSR_TIMEOUT,
  CSR_ENABLE,
  CSR_INTERRUPT,
  CSR_MEMORY_FAULT,
  CSR_ON,
  CSR_OVERFLOW,
  DDTP_3LVL,
  DDTP_BARE,
  DDTP_OFF,
  FCTL_BE,
  FCTL_GXL,
  FCTL_WSI,
  IGS_BOTH,
  IGS_WSI,
  REG,
  REGISTER_BYTES,
  REGISTERS,
  SOURCE_COMMAND,
  SOURCE_FAULT,
  SOURCE_PAGE,
} from '../../format/riscv/registers.ts'
import type { RiscvOptions } from './options.ts'

/** Bytes of the register that a 32-bit word belongs to; 0 where there is none. */
const SIZE = new Uint8Array(REGISTER_BYTES / 4)
for (const { offset, layout } of REGISTERS) SIZE.fill(layout.bits / 8, offset / 4, (offset + layout.bits / 8) / 4)

/** What other parts do when software writes. */
export interface RegisterEffects {
  /** fctl changed. */
  features(features: RiscvFeatures): void
  /** Counters, their events or their inhibition changed. */
  counters(): void
  /** Software cleared this pending interrupt: it comes again if its reason is still there. */
  cleared(source: number): void
  /** The mask bit of this vector went from 1 to 0. */
  unmasked(vector: number): void
  /** tr_req_ctl.Go/Busy was set. */
  translationRequest(): void
  /** The command queue was switched off. */
  commandsOff(): void
}

export class Registers {
  /** The file, 32-bit words. iocountovf is not in it: it is computed when read. */
  readonly words = new Int32Array(REGISTER_BYTES / 4)
  readonly options: RiscvOptions
  effects: RegisterEffects | null = null
  /** [0] counts up when anything changes on which resolved contexts depend: ddtp, fctl, a directory cache. Shared with the caches. */
  readonly epoch = new Int32Array(1)
  features: RiscvFeatures
  /** Page-number bits that capabilities.PAS allows, as the words of a register that has them at bits 53:10. */
  readonly #ppnLo: number
  readonly #ppnHi: number

  constructor(options: RiscvOptions) {
    this.options = options
    this.words[REG.capabilities / 4] = lo32(options.capabilities)
    this.words[REG.capabilities / 4 + 1] = hi32(options.capabilities)
    this.words[REG.fctl / 4] = options.fctl
    this.words[REG.ddtp / 4] = options.resetMode
    this.features = this.#features()
    const pages = (1n << BigInt(Math.max(0, this.features.addressBits - 12))) - 1n
    this.#ppnLo = lo32(pages << 10n)
    this.#ppnHi = hi32(pages << 10n)
  }

  #features(): RiscvFeatures {
    const { gxlWritable, beWritable, qosMask } = this.options
    const choices = { gxlWritable, beWritable, qosMask }
    return featuresOf(this.at(REG.capabilities + 4), this.at(REG.capabilities), this.at(REG.fctl), choices)
  }

  /** The word at an offset, signed. */
  at(offset: number): number {
    return this.words[offset >>> 2]!
  }

  put(offset: number, value: number): void {
    this.words[offset >>> 2] = value
  }

  /** ddtp.iommu_mode. */
  get mode(): number {
    return this.at(REG.ddtp) & 15
  }

  read(offset: number, bytes: 4 | 8): bigint {
    if (!this.#legal(offset, bytes)) return 0n
    if (offset === REG.iocountovf) return BigInt(this.#overflows() >>> 0)
    return u64(bytes === 8 ? this.at(offset + 4) : 0, this.at(offset))
  }

  /** Bit X: OF of iohpmevtX; bit 0: of iohpmcycles. */
  #overflows(): number {
    let bits = this.at(REG.iohpmcycles + 4) >>> 31
    for (let counter = 1; counter < this.options.counters; counter++)
      bits |= (this.at(REG.iohpmevt1 + counter * 8 - 4) >>> 31) << counter
    return bits
  }

  #legal(offset: number, bytes: number): boolean {
    return offset >= 0 && offset < REGISTER_BYTES && offset % bytes === 0 && SIZE[offset >>> 2]! >= bytes
  }

  write(offset: number, bytes: 4 | 8, value: bigint): void {
    if (!this.#legal(offset, bytes)) return
    const low = lo32(value)
    if (SIZE[offset >>> 2] === 4) this.#write4(offset, low)
    else if (bytes === 8) this.#write8(offset, hi32(value), low)
    else if (offset % 8 === 0) this.#write8(offset, this.at(offset + 4), low)
    else if (offset === REG.icvec + 4 && this.options.quirks.icvecUpperHalf) this.#icvec(low)
    else this.#write8(offset - 4, low, this.at(offset - 4))
  }

  #write4(offset: number, value: number): void {
    const caps = this.at(REG.capabilities)
    const ats = (caps & CAP_ATS) !== 0
    switch (offset) {
      case REG.fctl:
        this.#fctl(value)
        break
      case REG.cqt:
        this.#index(offset, REG.cqb, value)
        break
      case REG.fqh:
        this.#index(offset, REG.fqb, value)
        break
      case REG.pqh:
        if (ats) this.#index(offset, REG.pqb, value)
        break
      case REG.cqcsr:
        if ((this.at(offset) & ~value & CSR_ENABLE) !== 0) this.effects?.commandsOff()
        this.#csr(offset, value, REG.cqh, CSR_MEMORY_FAULT | CQCSR_TIMEOUT | CQCSR_ILLEGAL | CQCSR_FENCE)
        break
      case REG.fqcsr:
        this.#csr(offset, value, REG.fqt, CSR_MEMORY_FAULT | CSR_OVERFLOW)
        break
      case REG.pqcsr:
        if (ats || this.options.quirks.pqcsrWithoutAts) this.#csr(offset, value, REG.pqt, CSR_MEMORY_FAULT | CSR_OVERFLOW)
        break
      case REG.ipsr:
        this.#ipsr(value)
        break
      case REG.iocountinh:
        if ((caps & CAP_HPM) !== 0) this.#inhibit(value)
        break
      case REG.iommu_qosid:
        if ((this.at(REG.capabilities + 4) & CAP_HI_QOSID) !== 0) this.put(offset, value & this.options.qosMask)
        break
      default:
        if (offset >= REG.msi_cfg_tbl) this.#msiWord(offset, value)
    }
  }

  #write8(offset: number, high: number, low: number): void {
    const caps = this.at(REG.capabilities)
    switch (offset) {
      case REG.ddtp:
        this.#ddtp(high, low)
        break
      case REG.cqb:
        this.#queueBase(offset, REG.cqcsr, REG.cqt, high, low)
        break
      case REG.fqb:
        this.#queueBase(offset, REG.fqcsr, REG.fqh, high, low)
        break
      case REG.pqb:
        if ((caps & CAP_ATS) !== 0) this.#queueBase(offset, REG.pqcsr, REG.pqh, high, low)
        break
      case REG.tr_req_iova:
        if ((caps & CAP_DBG) !== 0) this.#put8(offset, high, low & ~0xfff)
        break
      case REG.tr_req_ctl:
        if ((caps & CAP_DBG) !== 0) this.#translationRequest(high, low)
        break
      case REG.icvec:
        this.#icvec(low)
        break
      default:
        if (offset >= REG.msi_cfg_tbl) this.#msiAddress(offset, high, low)
        else if (offset >= REG.iohpmcycles && offset < REG.tr_req_iova && (caps & CAP_HPM) !== 0) this.#counter(offset, high, low)
    }
  }

  #inhibit(value: number): void {
    this.put(REG.iocountinh, value & (this.options.counters >= 32 ? -1 : (1 << this.options.counters) - 1))
    this.effects?.counters()
  }

  /** Bits 11:4 and 35:33 of tr_req_ctl are reserved, 39:36 custom. */
  #translationRequest(high: number, low: number): void {
    this.#put8(REG.tr_req_ctl, high & ~0xfe, low & ~0xff0)
    if ((low & 1) !== 0) this.effects?.translationRequest()
  }

  #put8(offset: number, high: number, low: number): void {
    this.put(offset, low)
    this.put(offset + 4, high)
  }

  #fctl(value: number): void {
    const caps = this.at(REG.capabilities)
    const on = (this.at(REG.cqcsr) | this.at(REG.fqcsr) | this.at(REG.pqcsr)) & (CSR_ENABLE | CSR_ON)
    if (this.mode !== DDTP_OFF || on !== 0) return
    const writable =
      ((caps & CAP_END) !== 0 ? FCTL_BE : 0) |
      (((caps >>> 28) & 3) === IGS_BOTH ? FCTL_WSI : 0) |
      (this.options.gxlWritable ? FCTL_GXL : 0)
    this.put(REG.fctl, (this.at(REG.fctl) & ~writable) | (value & writable))
    this.features = this.#features()
    this.epoch[0]!++
    this.effects?.features(this.features)
  }

  #ddtp(high: number, low: number): void {
    const mode = low & 15
    const before = this.mode
    if (mode > DDTP_3LVL || mode > this.options.maxMode) return
    if (mode > DDTP_BARE && before > DDTP_BARE) return
    this.#put8(REG.ddtp, high & this.#ppnHi, (low & this.#ppnLo) | mode)
    this.epoch[0]!++
  }

  #queueBase(offset: number, csr: number, index: number, high: number, low: number): void {
    if ((this.at(csr) & CSR_ON) !== 0) return
    this.#put8(offset, high & this.#ppnHi, (low & this.#ppnLo) | (low & 31))
    this.put(index, 0)
  }

  /** The mask of the indices of a queue. */
  indexMask(base: number): number {
    const log2 = (this.at(base) & 31) + 1
    return log2 === 32 ? -1 : (1 << log2) - 1
  }

  #index(offset: number, base: number, value: number): void {
    this.put(offset, value & this.indexMask(base))
  }

  /** A queue's CSR: enable and interrupt enable are plain, the others are cleared by writing 1. */
  #csr(offset: number, value: number, index: number, clearable: number): void {
    let csr = this.at(offset)
    if ((value & ~csr & CSR_ENABLE) !== 0) {
      // "Changing the enable bit from 0 to 1 sets" the hardware's index and the status bits to 0.
      this.put(index, 0)
      csr = (csr & ~clearable) | CSR_ENABLE | CSR_ON
    } else if ((csr & ~value & CSR_ENABLE) !== 0) csr &= ~(CSR_ENABLE | CSR_ON)
    this.put(offset, (csr & ~CSR_INTERRUPT & ~(value & clearable)) | (value & CSR_INTERRUPT))
  }

  #ipsr(value: number): void {
    this.put(REG.ipsr, this.at(REG.ipsr) & ~(value & 15))
    for (const source of [SOURCE_COMMAND, SOURCE_FAULT, SOURCE_PAGE]) if ((value >>> source) & 1) this.effects?.cleared(source)
  }

  #counter(offset: number, high: number, low: number): void {
    const { counters, counterBits, maxEvent } = this.options
    if (offset === REG.iohpmcycles) {
      const bits = Math.min(63, counterBits)
      this.#put8(offset, (high & maskHi(bits)) | (high & (1 << 31)), low & maskLo(bits))
    } else if (offset < REG.iohpmevt1) {
      if ((offset - REG.iohpmctr1) / 8 + 1 >= counters) return
      this.#put8(offset, high & maskHi(counterBits), low & maskLo(counterBits))
    } else {
      if ((offset - REG.iohpmevt1) / 8 + 1 >= counters) return
      const event = low & 0x7fff
      const kept = event > maxEvent ? this.at(offset) & 0x7fff : event
      this.#put8(offset, high, (low & ~0x7fff) | kept)
      this.effects?.counters()
    }
  }

  #icvec(low: number): void {
    const caps = this.at(REG.capabilities)
    const field = (1 << this.options.vectorBits) - 1
    const monitor = (caps & CAP_HPM) === 0 ? 0 : field << 8
    const page = (caps & CAP_ATS) === 0 ? 0 : field << 12
    this.put(REG.icvec, low & (field | (field << 4) | monitor | page))
  }

  /** The vector of an address in the MSI table; -1 where there is none. */
  #vector(offset: number): number {
    if (((this.at(REG.capabilities) >>> 28) & 3) === IGS_WSI) return -1
    const vector = (offset - REG.msi_cfg_tbl) >>> 4
    return vector < 1 << this.options.vectorBits ? vector : -1
  }

  #msiAddress(offset: number, high: number, low: number): void {
    if (this.#vector(offset) < 0) return
    const bits = Math.min(56, this.features.addressBits)
    this.#put8(offset, high & maskHi(bits), low & maskLo(bits) & ~3)
  }

  #msiWord(offset: number, value: number): void {
    const vector = this.#vector(offset)
    if (vector < 0) return
    if (offset % 16 === 8) {
      this.put(offset, value)
      return
    }
    const unmasked = (this.at(offset) & ~value & 1) !== 0
    this.put(offset, value & 1)
    if (unmasked) this.effects?.unmasked(vector)
  }
}

/** The low `bits` bits of 64, as words. */
function maskLo(bits: number): number {
  return bits >= 32 ? -1 : (1 << bits) - 1
}

function maskHi(bits: number): number {
  return bits >= 64 ? -1 : bits <= 32 ? 0 : (1 << (bits - 32)) - 1
}
