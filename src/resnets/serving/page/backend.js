/* Who answers: here the service that the page came from.

connect({askToken, loading, place, changed}) -> the backend:
  card, sha        model.json of the model, and its fingerprint
  report           the address of the report, or null
  place            what to say of where pictures go: {word, values}
  explains         whether explain may be asked
  predict(image, {waiting})         -> {predictions: [{label, probability}], unsure}
  explain(image, label, {waiting})  -> [{label, probability, png, deletion, insertion}], or null
It asks for a token, tells loading and place what happens before it is there, and tells changed
when it became another model. All of it throws Problem. An exported site has a file of this name that names local.js. */

export { connect } from "./remote.js";
