/** A translation told step by step: which entry is read, where, and what it decides. Nothing lasts, and no cache is asked. */
import type { TranslationStep } from '../../base/explain.ts'
import { hex } from '../../base/hex.ts'
import { getAddress, getNumber, type Layout, type Words } from '../../base/layout.ts'
import { hi32, lo32, u64 } from '../../base/u64.ts'
import { WALK_NAMES, WALK_OK, type WalkObserver } from '../../format/pt/walker.ts'
import { ENTRY_RULES } from '../../format/vtd/check.ts'
import { CONTEXT_ENTRY, pasidLimit, SM_CONTEXT_ENTRY } from '../../format/vtd/contexts.ts'
import { FAULT_NAMES } from '../../format/vtd/faults.ts'
import type { TableObserver } from '../../format/vtd/lookup.ts'
import { PASID_DIR_ENTRY, PASID_ENTRY, PGTT_FIRST_STAGE, PGTT_NESTED, PGTT_SECOND_STAGE, pgttOf } from '../../format/vtd/pasid.ts'
import { GSTS, REG, RTADDR, TTM_LEGACY } from '../../format/vtd/registers.ts'
import { ROOT_ENTRY, SM_ROOT_ENTRY } from '../../format/vtd/root.ts'
import { entryStep, leadsTo, noteStep, rightsOf, structureStep } from '../common/explain.ts'
import type { Registers } from './registers.ts'
import type { Translator } from './translate.ts'

const MODES = ['legacy mode', 'scalable mode', 'a reserved mode', 'abort-DMA mode: nothing passes']

/** Translates with a dry translator, and tells how. */
export function explain(
  registers: Registers,
  translator: Translator,
  device: number,
  pasid: number,
  iova: bigint,
  flags: number,
): TranslationStep[] {
  const steps = registerSteps(registers)
  const pages = pageObserver(translator, steps)
  translator.tables.observer = tableObserver(registers, translator, steps)
  translator.walker.observer = pages
  translator.translate(device, pasid, hi32(iova), lo32(iova), flags)
  translator.tables.observer = null
  translator.walker.observer = null
  steps.push(lastStep(translator))
  return steps
}

function registerSteps(registers: Registers): TranslationStep[] {
  const status = Int32Array.of(registers.at(REG.GSTS))
  if (!registers.translating) return [structureStep('GSTS', GSTS, null, status, 'TES is 0: addresses pass as they are')]
  const root = Int32Array.of(registers.rootLo, registers.rootHi)
  const table = hex(getAddress(root, RTADDR.fields.RTA))
  return [structureStep('RTADDR', RTADDR, null, root, `${MODES[registers.ttm]}, root table at ${table}`)]
}

/** Tells of root, context, PASID directory and PASID table entries. */
function tableObserver(registers: Registers, translator: Translator, steps: TranslationStep[]): TableObserver {
  const { tables } = translator
  return {
    entry(step, pa, status, fault) {
      const legacy = registers.ttm === TTM_LEGACY
      const [layout, words]: readonly [Layout, Int32Array] = {
        root: [legacy ? ROOT_ENTRY : SM_ROOT_ENTRY, tables.root] as const,
        context: [legacy ? CONTEXT_ENTRY : SM_CONTEXT_ENTRY, tables.context] as const,
        directory: [PASID_DIR_ENTRY, tables.directory] as const,
        pasid: [PASID_ENTRY, tables.pasid] as const,
      }[step]
      if (status !== 0) {
        steps.push(noteStep(layout.name, 'cannot be read: nothing answers, or the data is corrupt', pa))
        return
      }
      const copy = words.slice(0, layout.bits / 32)
      const rule = tables.rule === 0 ? '' : `: ${ENTRY_RULES[tables.rule]}`
      steps.push(
        structureStep(layout.name, layout, pa, copy, fault === 0 ? tableText(layout, copy) : `${FAULT_NAMES[fault]}${rule}`),
      )
    },
  }
}

/** Tells of page-table entries. */
function pageObserver({ walker }: Translator, steps: TranslationStep[]): WalkObserver {
  return {
    entry(stage, space, depth, pa, hi, lo, kind, status) {
      const decided = status === WALK_OK ? leadsTo(space, depth, hi, lo, kind, rightsOf(walker, stage)) : WALK_NAMES[status]!
      steps.push(entryStep(stage === 2 ? 2 : 1, space, depth, pa, hi, lo, kind, decided))
    },
  }
}

function lastStep(translator: Translator): TranslationStep {
  const { result } = translator
  if (!result.refused) return noteStep('outcome', `translated to ${hex(u64(result.paHi, result.paLo))}`)
  return noteStep(
    'outcome',
    result.reason === 0 ? result.rule : `${FAULT_NAMES[result.reason]} (fault reason ${hex(result.reason)})`,
  )
}

/** What a good entry says. */
function tableText(layout: Layout, words: Words): string {
  const address = (name: string) => hex(getAddress(words, layout.fields[name]!))
  switch (layout) {
    case ROOT_ENTRY:
      return `present, context table at ${address('CTP')}`
    case SM_ROOT_ENTRY:
      return `present, context table at ${address('LCTP')}`
    case CONTEXT_ENTRY: {
      const through = getNumber(words, CONTEXT_ENTRY.fields.TT) === 2
      const did = `domain ${getNumber(words, CONTEXT_ENTRY.fields.DID)}`
      return through ? `present, ${did}, pass-through` : `present, ${did}, second stage at ${address('SSPTPTR')}`
    }
    case SM_CONTEXT_ENTRY: {
      const limit = pasidLimit(getNumber(words, SM_CONTEXT_ENTRY.fields.PDTS))
      const rid = getNumber(words, SM_CONTEXT_ENTRY.fields.RID_PASID)
      return `present, PASID directory at ${address('PASIDDIRPTR')} for PASIDs below ${hex(limit)}, without PASID ${rid}`
    }
    case PASID_DIR_ENTRY:
      return `present, PASID table at ${address('SMPTBLPTR')}`
    default:
      return `present, domain ${getNumber(words, PASID_ENTRY.fields.DID)}, ${stagesText(words, address)}`
  }
}

function stagesText(words: Words, address: (name: string) => string): string {
  switch (pgttOf(words[0]!)) {
    case PGTT_FIRST_STAGE:
      return `first stage at ${address('FSPTPTR')}`
    case PGTT_SECOND_STAGE:
      return `second stage at ${address('SSPTPTR')}`
    case PGTT_NESTED:
      return `first stage at guest physical ${address('FSPTPTR')}, second stage at ${address('SSPTPTR')}`
    default:
      return 'pass-through'
  }
}
