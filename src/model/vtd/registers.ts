/**
 * The register file: what each register keeps of a write, and whom a write wakes. Intel VT-d, section 11.4.
 *
 * Where the specification leaves behaviour open: commands complete at once, so that no status is ever pending; an access that is not
 * aligned reads 0 and writes nothing; write-only registers read as what was written.
 */
import { getBits, getNumber, setBits } from '../../base/layout.ts'
import { hi32, lo32, u64 } from '../../base/u64.ts'
import { featuresOf, type VtdFeatures } from '../../format/vtd/features.ts'
import { FAULT_RECORD_BYTES, RECORD_F } from '../../format/vtd/records.ts'
import {
  CAP,
  ECAP,
  EVENT_IM,
  FSTS_ICE,
  FSTS_IQE,
  FSTS_ITE,
  FSTS_PFO,
  faultOffset,
  faultRegisters,
  GS_CFI,
  GS_IRE,
  GS_IRTP,
  GS_QIE,
  GS_RTP,
  GS_TE,
  ICS_IWC,
  invalidationOffset,
  PMEN_EPM,
  PMEN_PRS,
  PRS_PPR,
  PRS_PRO,
  REG,
  registersOf,
} from '../../format/vtd/registers.ts'
import { VERSION } from './options.ts'

/** CAP.FRO and ECAP.IRO reach to 0x3ff0, where up to 256 fault recording registers may follow. */
const FILE_BYTES = 0x5000
/** Bits of GCMD that stay; the others are commands of the moment. */
const GCMD_LEVELS = GS_TE | GS_QIE | GS_IRE | GS_CFI
/** Protected memory regions are multiples of 2 MiB. */
const REGION = -(1 << 21)

/** What other parts do when software writes. */
export interface RegisterEffects {
  /** GCMD.SRTP: RTADDR counts from now on. */
  rootTable(): void
  /** GCMD.TE changed. */
  translation(on: boolean): void
  /** GCMD.SIRTP: IRTA counts from now on. */
  interruptTable(): void
  /** GCMD.IRE changed. */
  interruptRemapping(on: boolean): void
  /** CCMD was written with ICC, IOTLB with IVT. */
  contextCommand(): void
  iotlbCommand(): void
  /** A status bit, a fault record or a mask changed: interrupts may go out, or the invalidation queue may go on. */
  statusCleared(): void
  unmasked(control: number): void
}

export class Registers {
  readonly words = new Int32Array(FILE_BYTES / 4)
  /** Bits of each word that a write sets. */
  readonly #writable = new Int32Array(FILE_BYTES / 4)
  readonly #hostAddressBits: number
  effects: RegisterEffects | null = null
  /** [0] counts up when anything changes on which resolved contexts depend: the root table, a cache of entries. Shared with the caches. */
  readonly epoch = new Int32Array(1)
  features: VtdFeatures
  /** Offsets of IVA and of the fault recording registers, and how many there are. */
  iva = 0
  frcd = 0
  faultRegisters = 0
  /** RTADDR and IRTA as the last SRTP and SIRTP took them over. */
  rootHi = 0
  rootLo = 0
  /** ECAP.NWFS: the no-write flag of translation requests counts. */
  noWriteFlag = false
  /** log2 of the largest page that any stage can have: what a translation request learns of a pass-through (4.2.3). */
  largestPageLog2 = 12
  irtaHi = 0
  irtaLo = 0

  constructor(cap: bigint, ecap: bigint, hostAddressBits: number) {
    this.#hostAddressBits = hostAddressBits
    this.put(REG.VER, VERSION)
    for (const control of [REG.FECTL, REG.IECTL, REG.PECTL]) this.put(control, EVENT_IM)
    this.features = this.#configure(cap, ecap)
  }

  /** CAP and ECAP: which registers there are, and where. */
  #configure(cap: bigint, ecap: bigint): VtdFeatures {
    const features = featuresOf(cap, ecap, { hostAddressBits: this.#hostAddressBits })
    this.put64(REG.CAP, hi32(cap), lo32(cap))
    this.put64(REG.ECAP, hi32(ecap), lo32(ecap))
    this.iva = invalidationOffset(ecap)
    this.frcd = faultOffset(cap)
    this.faultRegisters = faultRegisters(cap)
    this.noWriteFlag = this.ecap('NWFS') === 1
    const huge = (this.cap('SSLPS') & 2) !== 0 || this.cap('FS1GP') === 1
    this.largestPageLog2 = huge ? 30 : (this.cap('SSLPS') & 1) !== 0 || features.firstStage ? 21 : 12
    const has = (register: typeof ECAP.fields.QI) => getBits(this.words, register.msb, register.lsb, REG.ECAP / 4) === 1
    const hasCap = (register: typeof CAP.fields.PLMR) => getBits(this.words, register.msb, register.lsb, REG.CAP / 4) === 1
    const above = features.hostAddressBits >= 64 ? -1 : (1 << (features.hostAddressBits - 32)) - 1
    const writable = this.#writable.fill(0)
    const set = (offset: number, lo: number, hi = 0) => {
      writable[offset / 4] = lo
      if (hi !== 0) writable[offset / 4 + 1] = hi
    }
    set(REG.GCMD, -1)
    set(REG.RTADDR, ~0x3ff, above)
    set(REG.CCMD, -1, 3 | (-1 << 29))
    this.#event(REG.FECTL, true)
    if (hasCap(CAP.fields.PLMR) || hasCap(CAP.fields.PHMR)) set(REG.PMEN, PMEN_EPM)
    if (hasCap(CAP.fields.PLMR)) for (const offset of [REG.PLMBASE, REG.PLMLIMIT]) set(offset, REGION)
    if (hasCap(CAP.fields.PHMR)) for (const offset of [REG.PHMBASE, REG.PHMLIMIT]) set(offset, REGION, above)
    if (has(ECAP.fields.QI)) {
      set(REG.IQT, 0x7fff0)
      set(REG.IQA, ~0x7f8, above)
      this.#event(REG.IECTL, true)
    }
    if (features.interruptRemapping) set(REG.IRTA, features.extendedInterrupts ? ~0x7f0 : ~0xff0, above)
    if (features.pageRequests) {
      set(REG.PQH, 0x7ffe0)
      set(REG.PQT, 0x7ffe0)
      set(REG.PQA, ~0xff8, above)
      this.#event(REG.PECTL, true)
    }
    set(this.iva, ~0xf80, -1)
    set(this.iva + 8, 0, 0xffff | (3 << 16) | (11 << 28))
    return features
  }

  /** An event's control, data and address registers. */
  #event(control: number, present: boolean): void {
    if (!present) return
    this.#writable[control / 4] = EVENT_IM
    this.#writable[control / 4 + 1] = 0xffff
    this.#writable[control / 4 + 2] = ~3
    this.#writable[control / 4 + 3] = -1
  }

  /** The word at an offset, signed. */
  at(offset: number): number {
    return this.words[offset >>> 2]!
  }

  put(offset: number, value: number): void {
    this.words[offset >>> 2] = value
  }

  put64(offset: number, high: number, low: number): void {
    this.put(offset, low)
    this.put(offset + 4, high)
  }

  /** A field of CAP or ECAP. */
  cap(field: keyof typeof CAP.fields): number {
    return getNumber(this.words, CAP.fields[field], REG.CAP / 4)
  }

  ecap(field: keyof typeof ECAP.fields): number {
    return getNumber(this.words, ECAP.fields[field], REG.ECAP / 4)
  }

  /** RTADDR.TTM that counts. */
  get ttm(): number {
    return (this.rootLo >>> 10) & 3
  }

  get translating(): boolean {
    return (this.at(REG.GSTS) & GS_TE) !== 0
  }

  get remapping(): boolean {
    return (this.at(REG.GSTS) & GS_IRE) !== 0
  }

  get queueing(): boolean {
    return (this.at(REG.GSTS) & GS_QIE) !== 0
  }

  read(offset: number, bytes: 4 | 8): bigint {
    if (!legal(offset, bytes)) return 0n
    return u64(bytes === 8 ? this.at(offset + 4) : 0, this.at(offset))
  }

  write(offset: number, bytes: 4 | 8, value: bigint): void {
    if (!legal(offset, bytes)) return
    this.#write(offset, lo32(value))
    if (bytes === 8) this.#write(offset + 4, hi32(value))
  }

  #write(offset: number, value: number): void {
    switch (offset) {
      case REG.GCMD:
        this.#command(value)
        return
      case REG.FSTS:
        this.#clear(offset, value, FSTS_PFO | FSTS_IQE | (this.features.deviceTlb ? FSTS_ICE | FSTS_ITE : 0))
        return
      case REG.ICS:
        this.#clear(offset, value, ICS_IWC)
        return
      case REG.PRS:
        this.#clear(offset, value, PRS_PPR | PRS_PRO)
        return
    }
    if (this.#isFaultWord(offset)) {
      this.#clear(offset, value, RECORD_F)
      return
    }
    const writable = this.#writable[offset / 4]!
    const before = this.at(offset)
    this.put(offset, (before & ~writable) | (value & writable))
    this.#afterWrite(offset, before)
  }

  #afterWrite(offset: number, before: number): void {
    const now = this.at(offset)
    switch (offset) {
      case REG.FECTL:
      case REG.IECTL:
      case REG.PECTL:
        if ((before & ~now & EVENT_IM) !== 0) this.effects?.unmasked(offset)
        break
      case REG.PMEN:
        this.put(offset, (now & ~PMEN_PRS) | ((now & PMEN_EPM) !== 0 ? PMEN_PRS : 0))
        break
      case REG.CCMD + 4:
        if (now < 0) this.effects?.contextCommand()
        break
      default:
        if (offset === this.iva + 12 && now < 0) this.effects?.iotlbCommand()
    }
  }

  /** The last word of a fault recording register, which has F. */
  #isFaultWord(offset: number): boolean {
    const at = offset - this.frcd
    return at >= 0 && at < this.faultRegisters * FAULT_RECORD_BYTES && at % FAULT_RECORD_BYTES === 12
  }

  /** A register whose bits are cleared by writing 1. */
  #clear(offset: number, value: number, clearable: number): void {
    const before = this.at(offset)
    this.put(offset, before & ~(value & clearable))
    if (this.at(offset) !== before) this.effects?.statusCleared()
  }

  #command(value: number): void {
    const status = this.at(REG.GSTS)
    const { interruptRemapping } = this.features
    let levels = value & GCMD_LEVELS
    if (this.ecap('QI') === 0) levels &= ~GS_QIE
    if (!interruptRemapping) levels &= ~(GS_IRE | GS_CFI)
    const changed = (status ^ levels) & GCMD_LEVELS
    let next = (status & ~GCMD_LEVELS) | levels
    if ((value & GS_RTP) !== 0) {
      this.takeRootTable()
      next |= GS_RTP
    }
    if ((value & GS_IRTP) !== 0 && interruptRemapping) {
      this.takeInterruptTable()
      next |= GS_IRTP
    }
    this.put(REG.GSTS, next)
    // "Hardware resets this field to 0 whenever the queued invalidation is disabled": so it also starts there.
    if ((changed & GS_QIE) !== 0) this.put64(REG.IQH, 0, 0)
    if ((value & GS_RTP) !== 0) this.effects?.rootTable()
    if ((value & GS_IRTP) !== 0 && interruptRemapping) this.effects?.interruptTable()
    if ((changed & GS_TE) !== 0) this.effects?.translation((next & GS_TE) !== 0)
    if ((changed & GS_IRE) !== 0) this.effects?.interruptRemapping((next & GS_IRE) !== 0)
    this.epoch[0]!++
  }

  takeRootTable(): void {
    this.rootHi = this.at(REG.RTADDR + 4)
    this.rootLo = this.at(REG.RTADDR)
    this.epoch[0]!++
  }

  takeInterruptTable(): void {
    this.irtaHi = this.at(REG.IRTA + 4)
    this.irtaLo = this.at(REG.IRTA)
  }

  /**
   * Takes over registers as a dump has them, by the manual's names (with or without `_REG`), without what a write would set off. Fault
   * records are `FRCD0`, of 128 bits, or `FRCD0_LO` and `FRCD0_HI`. Unknown names are ignored.
   */
  load(values: Readonly<Record<string, bigint | number>>): void {
    const given = new Map(Object.entries(values).map(([name, value]) => [name.replace(/_REG$/, ''), BigInt(value)]))
    const cap = BigInt.asUintN(64, given.get('CAP') ?? this.read(REG.CAP, 8))
    const ecap = BigInt.asUintN(64, given.get('ECAP') ?? this.read(REG.ECAP, 8))
    this.features = this.#configure(cap, ecap)
    for (const { name, offset, layout } of registersOf(cap, ecap)) {
      const halves: readonly [string, bigint][] = [
        [name, 0n],
        [`${name}_LO`, 0n],
        [`${name}_HI`, 64n],
      ]
      for (const [part, shift] of halves) {
        const value = given.get(part)
        if (value === undefined) continue
        const bits = part === name ? layout.bits : 64
        for (let bit = 0; bit < bits; bit += 32)
          this.put(offset + Number(shift) / 8 + bit / 8, lo32(BigInt.asUintN(32, value >> BigInt(bit))))
      }
    }
    this.takeRootTable()
    this.takeInterruptTable()
  }

  /** IQERCD. */
  putQueueError(info: number): void {
    setBits(this.words, 3, 0, info, REG.IQERCD / 4)
  }
}

function legal(offset: number, bytes: number): boolean {
  return Number.isInteger(offset) && offset >= 0 && offset + bytes <= FILE_BYTES && offset % bytes === 0
}
