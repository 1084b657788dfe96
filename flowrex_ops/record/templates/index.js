const rows = [...document.querySelectorAll("tbody tr")], fields = [...document.querySelectorAll("input, select")];
const fits = (row, field) => !field.value
  || (field.name ? row.dataset[field.name] === field.value : row.textContent.toLowerCase().includes(field.value.toLowerCase()));
const filter = () => {
  for (const row of rows) row.hidden = !fields.every(field => fits(row, field));
  document.querySelector("output").textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length}`;
};
document.forms[0].hidden = false;
addEventListener("input", filter);
filter();
