/* Who answers: here the service that the page came from.

connect({askToken, loading}) -> {card, sha, report, place, explains, predict, explain}
  card, sha        model.json of the model, and its fingerprint
  report           the address of the report, or null
  place            what to say of where pictures go: {word, values}
  explains         whether explain may be asked
  predict(image, {waiting})         -> {predictions: [{label, probability}], unsure}
  explain(image, label, {waiting})  -> [{label, probability, png, deletion, insertion}], or null
All of them throw Problem. An exported site has a file of this name that names local.js. */

export { connect } from "./remote.js";
