/**
 * Configuration lookup: from a StreamID to what its STE says, from a SubstreamID to what its CD says, and the caches of both.
 * Arm IHI 0070, 3.3.3, 3.21.3, 4.3. Entries stay as they were fetched until the command that covers them (or until they are evicted).
 * Level 1 descriptors are not kept by themselves; with negative caching, that one was not valid is.
 */
import { getNumber, maskIn, type Words } from '../../base/layout.ts'
import type { WordMemory } from '../../base/memory.ts'
import { neededRight } from '../../base/types.ts'
import type { PtSpace } from '../../format/pt/format.ts'
import type { Walker } from '../../format/pt/walker.ts'
import { CD, CD_WORDS } from '../../format/smmuv3/cd.ts'
import { type Broken, checkCd, checkSte } from '../../format/smmuv3/check.ts'
import { stage1Space, stage2Space, streamWorld, unprivilegedBlocked } from '../../format/smmuv3/context.ts'
import { C_BAD_CD, C_BAD_STE, C_BAD_STREAMID, C_BAD_SUBSTREAMID } from '../../format/smmuv3/events.ts'
import { featuresFromIdr, type SmmuFeatures } from '../../format/smmuv3/features.ts'
import { L1_WORDS } from '../../format/smmuv3/l1.ts'
import {
  type CdFetch,
  cdTableLog2,
  Found,
  findCd,
  findSte,
  LOOKUP_OK,
  type StreamTable,
  selectCd,
  streamTable,
} from '../../format/smmuv3/lookup.ts'
import { CR2, registerNamed } from '../../format/smmuv3/registers.ts'
import { S1DSS_SSID0, STE, STE_WORDS } from '../../format/smmuv3/ste.ts'
import { ConfigCache } from '../common/config-cache.ts'
import { ACCESS_MASK, EXECUTE, PRIVILEGED, READ, WRITE } from '../common/request.ts'
import { AT, type RegisterFile } from './registers.ts'
import { REGIME_EL1, REGIME_EL2, REGIME_EL2_E2H } from './tlb.ts'

/** What was found for a StreamID. `status` is LOOKUP_OK or the event that says why nothing was. */
export interface Stream {
  readonly sid: number
  readonly status: number
  readonly why: string
  /** Where the STE lies, or what was to be fetched, or the level 1 descriptor that leads nowhere; -1: none of these. */
  readonly address: number
  /** The words there. */
  readonly words: Uint32Array
  /** STE.Config. */
  readonly config: number
  readonly stage2: PtSpace | null
  readonly regime: number
  /** VMID << 16, or 0 where translations have none. */
  readonly vmidTag: number
  /** CD index for traffic without SubstreamID, CD_BYPASS, or the negative of an event: as `selectCd` says. */
  readonly plainCd: number
  /** SubstreamIDs from `firstCd` up to `cdCount` − 1 use the CD of that index. */
  readonly firstCd: number
  readonly cdCount: number
  /** STE.INSTCFG and PRIVCFG as they count. */
  readonly instcfg: number
  readonly privcfg: number
  /** The right that each kind of access (bits 2:0 of the flags) needs. */
  readonly need: Uint8Array
}

/** What was found for a CD. `status` is LOOKUP_OK, LOOKUP_STAGE2 or the event that says why nothing was. */
export interface Context {
  readonly stream: Stream
  readonly index: number
  readonly status: number
  /** As the stream has them, at hand: rights needed, regime, and who may use this CD: traffic without SubstreamID, with its number. */
  readonly need: Uint8Array
  readonly regime: number
  readonly plain: boolean
  readonly numbered: boolean
  readonly why: string
  readonly address: number
  /** Intermediate address of the last fetch; -1 without stage 2. */
  readonly ipa: number
  readonly words: Uint32Array
  /** Spaces of TTB0 and TTB1; null: no walks there. */
  readonly low: PtSpace | null
  readonly high: PtSpace | null
  /** Bit 0, 1: TBI0, TBI1; bit 2, 3: unprivileged access through TTB0, TTB1 faults (E0PD). */
  readonly halves: number
  /** VMID << 16 | ASID, as the regime has them. */
  readonly tag: number
  readonly aset: number
}

/** Sees what is looked up. Null on the fast way. */
export interface ConfigObserver {
  stream(stream: Stream, found: Found): void
  context(context: Context, found: Found): void
}

export interface ConfigOptions {
  /** Entries of the STE cache and of the CD cache; 0: off. */
  readonly streams: number
  readonly contexts: number
  /** Keep invalid entries too, as the manual allows: a forgotten CMD_CFGI_* then shows. */
  readonly negative: boolean
}

const E2H = maskIn(CR2.fields.E2H, 0)
const NO_WORDS = new Uint32Array(STE_WORDS)
const NO_RIGHTS = new Uint8Array(8)

export class Configuration {
  features: SmmuFeatures
  readonly streams: ConfigCache<Stream>
  readonly contexts: ConfigCache<Context>
  readonly #memory: WordMemory
  readonly #registers: RegisterFile
  readonly #negative: boolean
  readonly #found = new Found()
  #table: StreamTable | null = null

  constructor(memory: WordMemory, registers: RegisterFile, options: ConfigOptions) {
    this.#memory = memory
    this.#registers = registers
    this.#negative = options.negative
    this.streams = new ConfigCache(options.streams)
    this.contexts = new ConfigCache(options.contexts)
    this.features = this.#readFeatures()
  }

  #readFeatures(): SmmuFeatures {
    const e2h = (this.#registers.get(AT.CR2) & E2H) !== 0
    const features = featuresFromIdr((name) => this.#registers.get(registerNamed(name).offset), e2h)
    return features.hyp ? features : { ...features, e2h: false }
  }

  /** The registers that say what this SMMU is, or where its stream table lies, changed. */
  registersChanged(): void {
    this.features = this.#readFeatures()
    this.#table = null
  }

  /** The stream table, as STRTAB_BASE and STRTAB_BASE_CFG say. */
  get table(): StreamTable {
    if (this.#table === null) {
      const base = Uint32Array.of(this.#registers.get(AT.STRTAB_BASE), this.#registers.get(AT.STRTAB_BASE + 4))
      this.#table = streamTable(base, this.#registers.get(AT.STRTAB_BASE_CFG), this.features)
    }
    return this.#table
  }

  /** The stream's configuration: cached, else fetched (and cached). */
  stream(sid: number): Stream {
    const cached = this.streams.find(sid, 0)
    if (cached !== null) return cached
    const stream = this.fetchStream(sid)
    const keep =
      stream.status === LOOKUP_OK || (this.#negative && (stream.status === C_BAD_STE || stream.status === C_BAD_STREAMID))
    if (keep) this.streams.insert(sid, 0, stream)
    return stream
  }

  /** As `stream`, past the cache. */
  fetchStream(sid: number, observer: ConfigObserver | null = null): Stream {
    const { features } = this
    const found = this.#found
    let stream: Stream
    if (findSte(this.#memory, this.table, features, sid, found) !== LOOKUP_OK)
      stream = { ...nothing(sid), status: found.status, why: found.why, ...this.#failed(found) }
    else stream = decodeStream(sid, found.address, copy(this.#memory.words, found.index, STE_WORDS), features)
    observer?.stream(stream, found)
    return stream
  }

  /** A stream's CD: cached, else fetched through `walker` where there is a stage 2. */
  context(stream: Stream, index: number, walker: Walker): Context {
    const cached = this.contexts.find(stream.sid, index)
    if (cached !== null && cached.stream === stream) return cached
    // The STE was evicted and fetched again: the CD that is cached still counts, but not what was made of it.
    const context =
      cached !== null && cached.status === LOOKUP_OK
        ? decodeContext(stream, index, cached, cached.words, this.features)
        : this.fetchContext(stream, index, walker, true)
    const keep =
      context.status === LOOKUP_OK || (this.#negative && (context.status === C_BAD_CD || context.status === C_BAD_SUBSTREAMID))
    if (keep) this.contexts.insert(stream.sid, index, context)
    return context
  }

  /** As `context`, past the cache. @param update whether hardware may set access flags of stage 2. */
  fetchContext(stream: Stream, index: number, walker: Walker, update: boolean, observer: ConfigObserver | null = null): Context {
    const { features } = this
    const found = this.#found
    const through: CdFetch | null = stream.stage2 === null ? null : { space: stream.stage2, walker: walker.stage2, update }
    let context: Context
    if (findCd(this.#memory, stream.words, 0, features, index, through, found) !== LOOKUP_OK) {
      const { status, why } = found
      context = { ...nowhere(stream, index), status, why, ipa: found.at[2]!, ...this.#failed(found) }
    } else {
      const where = { address: found.address, ipa: found.at[2]! }
      context = decodeContext(stream, index, where, copy(this.#memory.words, found.index, CD_WORDS), features)
    }
    observer?.context(context, found)
    return context
  }

  /** Where a lookup failed: at a fetch, or at a level 1 descriptor that leads nowhere. */
  #failed(found: Found): { address: number; words: Uint32Array } {
    if (found.address >= 0 || found.l1Index < 0) return { address: found.address, words: NO_WORDS }
    return { address: found.at[1]!, words: copy(this.#memory.words, found.l1Index, L1_WORDS) }
  }

  /** Which CD a transaction uses: as `selectCd` says, for the common cases by what is known of the stream. */
  select(stream: Stream, ssid: number): number {
    if (ssid < 0) return stream.plainCd
    return ssid >= stream.firstCd && ssid < stream.cdCount ? ssid : selectCd(stream.words, 0, this.features, ssid)
  }

  /** CMD_CFGI_STE, CMD_CFGI_STE_RANGE: STEs of [first, last] and all their CDs. `leaf`: level 1 descriptors stay. */
  invalidateStreams(first: number, last: number, leaf: boolean): void {
    this.streams.invalidate(first, last, first === last ? 0 : -1, (stream) => leaf && stream.status === C_BAD_STREAMID)
    this.contexts.invalidate(first, last)
  }

  /** CMD_CFGI_CD, CMD_CFGI_CD_ALL (index −1). `leaf`: level 1 descriptors stay. */
  invalidateContexts(sid: number, index: number, leaf: boolean): void {
    this.contexts.invalidate(sid, sid, index, (context) => leaf && context.status === C_BAD_SUBSTREAMID)
  }
}

function copy(words: Words, at: number, count: number): Uint32Array {
  return Uint32Array.from(words.subarray(at, at + count))
}

function brokenText(broken: Broken): string {
  return `${broken.rule} (${broken.section})`
}

function nothing(sid: number): Stream {
  return {
    sid,
    status: LOOKUP_OK,
    why: '',
    address: -1,
    words: NO_WORDS,
    config: 0,
    stage2: null,
    regime: REGIME_EL1,
    vmidTag: 0,
    plainCd: -1,
    firstCd: 0,
    cdCount: 0,
    instcfg: 0,
    privcfg: 0,
    need: NO_RIGHTS,
  }
}

function decodeStream(sid: number, address: number, words: Uint32Array, features: SmmuFeatures): Stream {
  const broken = checkSte(words, 0, features)
  if (broken !== null) return { ...nothing(sid), status: C_BAD_STE, why: brokenText(broken), address, words }
  const config = getNumber(words, STE.fields.Config)
  const world = streamWorld(words, 0, features)
  const regime = world === 'el1' ? REGIME_EL1 : world === 'el2' ? REGIME_EL2 : REGIME_EL2_E2H
  const substreams = (config & 5) === 5 ? cdTableLog2(words, 0, features) : 0
  const plainCd = (config & 4) === 0 ? -1 : selectCd(words, 0, features, -1)
  const instcfg = features.attrPermsOverride ? getNumber(words, STE.fields.INSTCFG) : 0
  const privcfg = features.attrPermsOverride ? getNumber(words, STE.fields.PRIVCFG) : 0
  return {
    sid,
    status: LOOKUP_OK,
    why: '',
    address,
    words,
    config,
    stage2: (config & 6) === 6 ? stage2Space(words, 0, features) : null,
    regime,
    vmidTag: features.s2 && regime === REGIME_EL1 ? getNumber(words, STE.fields.S2VMID) << 16 : 0,
    plainCd,
    firstCd: getNumber(words, STE.fields.S1DSS) === S1DSS_SSID0 ? 1 : 0,
    cdCount: substreams === 0 ? 0 : 2 ** substreams,
    instcfg,
    privcfg,
    need: Uint8Array.from({ length: 8 }, (_, flags) => {
      const access = effectiveAccess(flags & ACCESS_MASK, instcfg)
      const name = access === WRITE ? 'write' : access === EXECUTE ? 'execute' : 'read'
      return neededRight(name, effectivePrivilege((flags & PRIVILEGED) !== 0, privcfg))
    }),
  }
}

/** STE.INSTCFG: reads may be taken as data or as instruction fetches; writes are always data (5.2). */
export function effectiveAccess(access: number, instcfg: number): number {
  if (access === WRITE || instcfg < 2) return access
  return instcfg === 3 ? EXECUTE : READ
}

/** STE.PRIVCFG (5.2). */
export function effectivePrivilege(privileged: boolean, privcfg: number): boolean {
  return privcfg < 2 ? privileged : privcfg === 3
}

function nowhere(stream: Stream, index: number): Context {
  return {
    stream,
    index,
    status: LOOKUP_OK,
    need: stream.need,
    regime: stream.regime,
    plain: false,
    numbered: false,
    why: '',
    address: -1,
    ipa: -1,
    words: NO_WORDS,
    low: null,
    high: null,
    halves: 0,
    tag: 0,
    aset: 0,
  }
}

function decodeContext(
  stream: Stream,
  index: number,
  where: { readonly address: number; readonly ipa: number },
  words: Uint32Array,
  features: SmmuFeatures,
): Context {
  const { address, ipa } = where
  const broken = checkCd(words, 0, stream.words, 0, features)
  if (broken !== null) return { ...nowhere(stream, index), status: C_BAD_CD, why: brokenText(broken), address, ipa, words }
  const flag = (name: 'TBI0' | 'TBI1' | 'ASET') => getNumber(words, CD.fields[name])
  const blocked = (half: 0 | 1) => (unprivilegedBlocked(words, 0, stream.words, 0, features, half) ? 1 : 0)
  // EL2 has no ASIDs, and no VMIDs either; EL2-E2H has ASIDs only (3.17).
  const asid = stream.regime === REGIME_EL2 ? 0 : getNumber(words, CD.fields.ASID)
  return {
    stream,
    index,
    status: LOOKUP_OK,
    need: stream.need,
    regime: stream.regime,
    plain: stream.plainCd === index,
    numbered: index >= stream.firstCd && index < stream.cdCount,
    why: '',
    address,
    ipa,
    words,
    low: stage1Space(words, 0, stream.words, 0, features, 0, stream.stage2),
    high: stage1Space(words, 0, stream.words, 0, features, 1, stream.stage2),
    halves: flag('TBI0') | (flag('TBI1') << 1) | (blocked(0) << 2) | (blocked(1) << 3),
    tag: stream.vmidTag | asid,
    aset: flag('ASET'),
  }
}
