/** A translation told step by step: which entry is read, where, and what it decides. Nothing lasts, and no cache is asked. */
import type { TranslationStep } from '../../base/explain.ts'
import { hex } from '../../base/hex.ts'
import type { Layout } from '../../base/layout.ts'
import { hi32, lo32, u64 } from '../../base/u64.ts'
import { WALK_NAMES, WALK_OK } from '../../format/pt/walker.ts'
import { CONTEXT_RULES } from '../../format/riscv/check.ts'
import { DC, DC_BASE, DDTE, PC, PDTE, ppnAddressAt10 } from '../../format/riscv/contexts.ts'
import type { RiscvFeatures } from '../../format/riscv/features.ts'
import { MSI_PTE_FLAT, MSI_PTE_MRIF } from '../../format/riscv/msi.ts'
import { CAUSES } from '../../format/riscv/records.ts'
import { DDTP, REG } from '../../format/riscv/registers.ts'
import { entryStep, leadsTo, noteStep, rightsOf, structureStep } from '../common/explain.ts'
import type { Registers } from './registers.ts'
import type { Translator } from './translate.ts'

const MODES = ['Off: nothing passes', 'Bare: everything passes as it is', 'directory of 1 level', 'of 2 levels', 'of 3 levels']

/** Translates with a dry translator, and tells how. */
export function explain(
  registers: Registers,
  translator: Translator,
  device: number,
  process: number,
  iova: bigint,
  flags: number,
): TranslationStep[] {
  const { directory, walker } = translator
  const { features } = registers
  const ddtp = Int32Array.of(registers.at(REG.ddtp), registers.at(REG.ddtp + 4))
  const steps = [structureStep('ddtp', DDTP, null, ddtp, MODES[registers.mode] ?? 'reserved')]
  directory.observer = {
    entry(structure, pa, status) {
      const context = structure === 'DC' || structure === 'PC'
      const at = directory.reads * 2 - 2
      const words = context ? directory.words.slice() : directory.entry.slice(at, at + 2)
      steps.push(structureStep(structure, layoutOf(structure, features), pa, words, directoryText(context, words, status)))
    },
  }
  walker.observer = {
    entry(stage, space, depth, pa, hi, lo, kind, status) {
      const decided = status === WALK_OK ? leadsTo(space, depth, hi, lo, kind, rightsOf(walker, stage)) : WALK_NAMES[status]!
      steps.push(entryStep(stage === 2 ? 2 : 1, space, depth, pa, hi, lo, kind, decided))
    },
  }
  translator.translate(device, process, hi32(iova), lo32(iova), flags)
  directory.observer = null
  walker.observer = null
  steps.push(...lastSteps(translator))
  return steps
}

/** What follows the tables: an interrupt file, the end. */
function lastSteps(translator: Translator): TranslationStep[] {
  const { result, directory } = translator
  const { msiTarget } = translator.stages
  const steps: TranslationStep[] = []
  if (result.msi || (result.cause >= 261 && result.cause <= 263) || result.cause === 270) {
    const layout = result.mrif ? MSI_PTE_MRIF : MSI_PTE_FLAT
    steps.push(
      structureStep('MSI PTE', layout, msiTarget.at[0]!, msiTarget.entry.slice(), 'the address is that of an interrupt file'),
    )
  }
  if (result.cause === 0) steps.push(noteStep('outcome', `translated to ${hex(u64(result.hi, result.lo))}`))
  else {
    const misconfigured = result.cause === 259 || result.cause === 267
    const rule = misconfigured && directory.rule !== 0 ? `: ${CONTEXT_RULES[directory.rule]}` : ''
    steps.push(noteStep('outcome', `${CAUSES[result.cause]} (cause ${result.cause})${rule}`))
  }
  return steps
}

function layoutOf(structure: 'DDTE' | 'DC' | 'PDTE' | 'PC', features: RiscvFeatures): Layout {
  if (structure === 'DC') return features.extended ? DC : DC_BASE
  return structure === 'PC' ? PC : structure === 'DDTE' ? DDTE : PDTE
}

function directoryText(context: boolean, words: Int32Array, status: number): string {
  if (status !== 0) return 'cannot be read: nothing answers, or the data is corrupt'
  if ((words[0]! & 1) === 0) return 'not valid (V = 0)'
  return context ? 'valid' : `next table at ${hex(ppnAddressAt10(words[1]!, words[0]!))}`
}
