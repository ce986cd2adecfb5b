/**
 * Whether an STE or CD is illegal, and which rule it breaks: `ste-rules.ts` (C_BAD_STE; Arm IHI 0070, 5.2.2) and `cd-rules.ts` (C_BAD_CD;
 * 5.4.2).
 */
import { getNumber, type Words } from '../../base/layout.ts'
import { CD_RULES } from './cd-rules.ts'
import type { SmmuFeatures } from './features.ts'
import { STE } from './ste.ts'
import { type Broken, STE_RULES } from './ste-rules.ts'

export type { Broken } from './ste-rules.ts'

/** The rule that makes this STE illegal, the first by the manual's order; null when it is legal. */
export function checkSte(words: Words, at: number, features: SmmuFeatures): Broken | null {
  // 5.2.2: a valid entry that lets nothing pass has nothing else to be wrong.
  if (aborts(words, at)) return null
  for (const rule of STE_RULES) if (rule.broken(words, at, features)) return rule
  return null
}

/** The rule that makes this CD illegal when it is reached through this STE; null when it is legal. */
export function checkCd(cd: Words, cdAt: number, ste: Words, steAt: number, features: SmmuFeatures): Broken | null {
  for (const rule of CD_RULES) if (rule.broken(cd, cdAt, ste, steAt, features)) return rule
  return null
}

/** All rules that an STE breaks. One that is not valid breaks no other. */
export function brokenSteRules(words: Words, at: number, features: SmmuFeatures): Broken[] {
  const first = checkSte(words, at, features)
  if (first === null || first === STE_RULES[0]) return first === null ? [] : [first]
  return STE_RULES.filter((rule) => rule.broken(words, at, features))
}

/** All rules that a CD breaks. One that is not valid breaks no other. */
export function brokenCdRules(cd: Words, cdAt: number, ste: Words, steAt: number, features: SmmuFeatures): Broken[] {
  const first = checkCd(cd, cdAt, ste, steAt, features)
  if (first === null || first === CD_RULES[0]) return first === null ? [] : [first]
  return CD_RULES.filter((rule) => rule.broken(cd, cdAt, ste, steAt, features))
}

function aborts(ste: Words, at: number): boolean {
  return getNumber(ste, STE.fields.V, at) === 1 && (getNumber(ste, STE.fields.Config, at) & 4) === 0
}
